/*
 * stack.c - see stack.h.
 *
 * backtrace() loads libgcc_s at its first call, which is made here at start: later calls, from
 * inside malloc, load nothing.  Frames of this library are left out by the bounds of its text.
 * Where a frame stands is asked when the program ends, in the middle of anything.
 */
#include "stack.h"

#include "internal.h"

#include "../core/sites.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <string.h>

/* Other libcs lack it. */
#pragma weak backtrace

#ifdef DLFO_STRUCT_HAS_EH_DBASE
/* glibc has it from 2.35 on; unlike dladdr() it takes no lock, which the thread that ends the
 * program may be in the way of. */
static int (*find_object)(void *address, struct dl_find_object *result);
#endif
/* What the loader has no name for. */
static char program[64];

/* Frames of ours between the program's call and backtrace(), at the most. */
#define OWN_FRAMES 12

static struct {
	uintptr_t begin, end;
} text;

/* The object that this function is in: its executable part. */
static int find_text(struct dl_phdr_info *info, size_t size, void *unused)
{
	uintptr_t here = (uintptr_t)&find_text;

	(void)size, (void)unused;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &info->dlpi_phdr[i];
		uintptr_t begin = info->dlpi_addr + part->p_vaddr;

		if (part->p_type != PT_LOAD || here - begin >= part->p_memsz)
			continue;
		text.begin = begin;
		text.end = begin + part->p_memsz;
		return 1;
	}
	return 0;
}

static bool is_ours(const void *frame)
{
	return (uintptr_t)frame >= text.begin && (uintptr_t)frame < text.end;
}

static unsigned int stack_here(void **frame, unsigned int max)
{
	void *all[SN_SITE_FRAMES + OWN_FRAMES];
	int n = backtrace(all, (int)sn_min(max + OWN_FRAMES, SN_ARRAY_SIZE(all))), own = 0;

	while (own < n && is_ours(all[own]))
		own++;
	n = sn_min(n - own, (int)max);
	memcpy(frame, all + own, (size_t)n * sizeof(*frame));
	return (unsigned int)n;
}

#ifdef DLFO_STRUCT_HAS_EH_DBASE
static bool place_of(const void *frame, struct sn_place *place)
{
	uintptr_t call = (uintptr_t)frame - 1;
	struct dl_find_object found;
	const char *path, *slash;

	if (find_object((void *)call, &found) != 0)
		return false;
	path = found.dlfo_link_map->l_name;
	slash = strrchr(path, '/');
	place->file = *path == '\0' ? program : slash == NULL ? path : slash + 1;
	place->offset = call - found.dlfo_link_map->l_addr;
	return true;
}

static void start_places(void)
{
	find_object = (int (*)(void *, struct dl_find_object *))(uintptr_t)dlsym(RTLD_DEFAULT,
										 "_dl_find_object");
	if (find_object != NULL)
		sn_place_hook = place_of;
}
#else
static void start_places(void)
{
}
#endif

void sn_stack_start(void)
{
	void *frame[1];

	if (backtrace == NULL)
		return;
	strncpy(program, program_invocation_short_name, sizeof(program) - 1);
	sn_internal_enter();
	dl_iterate_phdr(find_text, NULL);
	backtrace(frame, 1);
	start_places();
	sn_internal_leave();
	sn_stack_hook = stack_here;
}
