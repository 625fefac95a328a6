// What the text of a translated module includes.
#pragma once

#include "half.h"
#include "scalar.h"

#define TCEMU_KERNEL extern "C" __attribute__((visibility("default"))) void

// Checked modules say what they are about to touch; others touch it.
#ifdef TCEMU_CHECKED
#define TCEMU_CHECK(address, bytes, kind, site) \
  self->rt->check_access(self, (uintptr_t)(address), bytes, tcemu::kind, site)
#define TCEMU_LOCAL(address, bytes, depot, size, site) \
  self->rt->check_local(self, (uintptr_t)(address), bytes, depot, size, site)
#else
#define TCEMU_CHECK(address, bytes, kind, site) ((void)0)
#define TCEMU_LOCAL(address, bytes, depot, size, site) ((void)0)
#endif

// Each backward branch burns fuel: a loop that never ends is noticed, and lets others run.
#define TCEMU_BURN(site) \
  if (__builtin_expect(--self->fuel < 0, 0)) self->rt->tick(self, site)
