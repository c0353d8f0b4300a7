/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an iommufd is asked, byte by byte: ioctl(2) is replaced by one that plays a kernel with one device. That
 * the real one takes it is seen in the lab, on a kernel that has one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/vfio.h>
#include <stdbool.h>
#include <string.h>

#include "drivers/virtio/iommufd.h"
#include "tests/unit/ioctl_wrap.h"
#include "vdpa/base/bits.h"

#define IOMMUFD 1001
#define DEVICE	1002
#define SPACE	7

/* The requests, as numbers. */
enum { ALLOC = 0x3b81, VFIO_SPACE = 0x3b88, BIND = 0x3b76, ATTACH = 0x3b77 };

static struct kernel {
	unsigned long fails; /* this request, with @error */
	int error;
	int version;
	bool no_type1;
	size_t n_asked;
	unsigned long asked[8];
} kernel;

static void expect(int fd, int wanted, const void *arg, const void *bytes, size_t size)
{
	assert_int_equal(fd, wanted);
	assert_memory_equal(arg, bytes, size);
}

static int answer(int fd, unsigned long request, void *arg)
{
	switch (request) {
	case ALLOC:
		expect(fd, IOMMUFD, arg, (const uint32_t[]){ 12, 0, 0 }, 12);
		((uint32_t *)arg)[2] = SPACE;
		return 0;
	case VFIO_SPACE:
		expect(fd, IOMMUFD, arg, (const uint16_t[]){ 12, 0, SPACE, 0, 1, 0 }, 12);
		return 0;
	case VFIO_GET_API_VERSION:
		assert_int_equal(fd, IOMMUFD);
		return kernel.version;
	case VFIO_CHECK_EXTENSION:
		return (uintptr_t)arg == VFIO_TYPE1v2_IOMMU && !kernel.no_type1;
	case BIND:
		expect(fd, DEVICE, arg, (const uint32_t[]){ 16, 0, IOMMUFD, 0 }, 16);
		((uint32_t *)arg)[3] = 1;
		return 0;
	case ATTACH:
		expect(fd, DEVICE, arg, (const uint32_t[]){ 12, 0, SPACE }, 12);
		return 0;
	default:
		fail_msg("request %lx", request);
		return -ENOTTY;
	}
}

static int kernel_answers(int fd, unsigned long request, void *arg)
{
	assert_true(kernel.n_asked < ARRAY_SIZE(kernel.asked));
	kernel.asked[kernel.n_asked++] = request;
	return request == kernel.fails ? -kernel.error : answer(fd, request, arg);
}

static int setup(void **state)
{
	kernel = (struct kernel){ .version = VFIO_API_VERSION };
	return 0;
}

static void an_address_space_is_made_and_speaks_as_a_container(void **state)
{
	const unsigned long order[] = { ALLOC, VFIO_SPACE, VFIO_GET_API_VERSION, VFIO_CHECK_EXTENSION };
	uint32_t space = 0;

	assert_int_equal(iommufd_begin(IOMMUFD, &space), 0);
	assert_int_equal(space, SPACE);
	assert_int_equal(kernel.n_asked, ARRAY_SIZE(order));
	assert_memory_equal(kernel.asked, order, sizeof(order));
}

static void one_that_speaks_otherwise_is_refused(void **state)
{
	uint32_t space = 99;

	kernel.no_type1 = true;
	assert_int_equal(iommufd_begin(IOMMUFD, &space), -EPROTO);
	kernel.n_asked = 0;
	kernel.version = VFIO_API_VERSION + 1;
	assert_int_equal(iommufd_begin(IOMMUFD, &space), -EPROTO);
	assert_int_equal(space, 99);
}

static void errors_of_each_request_are_told(void **state)
{
	const unsigned long requests[] = { ALLOC, VFIO_SPACE, VFIO_GET_API_VERSION, VFIO_CHECK_EXTENSION };
	uint32_t space = 99;

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		kernel = (struct kernel){ .fails = requests[i], .error = ENOMEM, .version = VFIO_API_VERSION };
		assert_int_equal(iommufd_begin(IOMMUFD, &space), -ENOMEM);
		assert_int_equal(kernel.n_asked, i + 1);
	}
	assert_int_equal(space, 99);
	kernel = (struct kernel){ .fails = BIND, .error = EINVAL };
	assert_int_equal(iommufd_bind(DEVICE, IOMMUFD), -EINVAL);
	kernel = (struct kernel){ .fails = ATTACH, .error = EPERM };
	assert_int_equal(iommufd_attach(DEVICE, SPACE), -EPERM);
}

static void a_device_is_bound_and_then_attached(void **state)
{
	assert_int_equal(iommufd_bind(DEVICE, IOMMUFD), 0);
	assert_int_equal(iommufd_attach(DEVICE, SPACE), 0);
	assert_int_equal(kernel.n_asked, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(an_address_space_is_made_and_speaks_as_a_container),
		TEST(one_that_speaks_otherwise_is_refused),
		TEST(errors_of_each_request_are_told),
		TEST(a_device_is_bound_and_then_attached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
