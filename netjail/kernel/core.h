// What the files of the core share.
//
// Conventions: every function returns 0 (or a count) or -errno; out-parameters
// come last and are called ret.
#ifndef NJ_CORE_H
#define NJ_CORE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdint.h>

#include "api.h"

#endif
