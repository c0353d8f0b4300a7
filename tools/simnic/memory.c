/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A memory file, or a dirty log's, can be truncated by whoever has it, and the next access to the lost pages raises
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

#include "tools/simnic/probe.h"

static struct nic *watched;

static bool lies_in(const struct iommu_region *region, uintptr_t address)
{
	return address - (uintptr_t)region->base < region->base_size;
}

static struct iommu_region *find(uintptr_t address, struct function **ret)
{
	for (uint32_t i = 0; i < watched->n_slots; i++) {
		struct function *f = watched->functions[i];

		if (!f)
			continue;
		*ret = f;
		if (lies_in(&f->log.file, address))
			return &f->log.file;
		for (uint32_t r = 0; r < f->iommu.n_regions; r++) {
			if (lies_in(&f->iommu.regions[r], address))
				return &f->iommu.regions[r];
		}
	}
	return NULL;
}

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	int saved = errno;
	struct function *f;
	struct iommu_region *region;

	probe_caught();
	region = find((uintptr_t)info->si_addr, &f);
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
