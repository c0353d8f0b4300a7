/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A memory file can be truncated by whoever has it, and the next access to the lost pages raises
 * SIGBUS in the thread that made it. The handler puts private zero pages in the place of the whole
 * region, so that the access goes on with nothing; the function is marked, and given up as soon
 * as that burst is over.
 *
 * The thread that faults holds its lock, or paused the others: the tables that the handler looks
 * into don't change meanwhile.
 */
#include "tools/simnic/memory.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct nic *watched;

static struct iommu_region *find(uintptr_t address, struct function **ret)
{
	for (uint32_t i = 0; i < watched->n_slots; i++) {
		struct function *f = watched->functions[i];

		for (uint32_t r = 0; f && r < f->iommu.n_regions; r++) {
			struct iommu_region *region = &f->iommu.regions[r];

			if (address - (uintptr_t)region->base < region->base_size) {
				*ret = f;
				return region;
			}
		}
	}
	return NULL;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	int saved = errno;
	struct function *f;
	struct iommu_region *region = find((uintptr_t)info->si_addr, &f);

	if (!region || mmap(region->base, region->base_size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
			       0) == MAP_FAILED) {
		signal(number, SIG_DFL); /* not a guest's memory: the access faults again */
		return;
	}
	f->memory_lost = true;
	f->faulty_any = true;
	nic_attention(watched);
	errno = saved;
}

int memory_watch(struct nic *nic)
{
	struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO };

	watched = nic;
	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}
