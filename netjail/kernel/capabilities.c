// Capabilities that would undo the jail, taken from whoever is to run in it.
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core.h"

static int get(struct __user_cap_data_struct *ret)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };

	return syscall(SYS_capget, &header, ret) < 0 ? -errno : 0;
}

static int set(const struct __user_cap_data_struct *data)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

// Those that this process has or can raise; *ret has a bit for each.
int nj_capabilities(uint64_t *ret)
{
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	int error = get(data);

	if (!error)
		*ret = data[0].permitted | (uint64_t)data[1].permitted << 32;
	return error;
}

// Take the capabilities of `dropped` from this thread, in every set.
//
// The ambient set follows the permitted one: cap_capset() in security/commoncap.c. What
// keeps an exec from bringing one back, by root or by a file that has it, is
// PR_SET_NO_NEW_PRIVS: so the bounding set may keep what it must (it takes CAP_SETPCAP
// to change it). It keeps CAP_NET_RAW: without it there, exec refuses /usr/bin/ping with
// EPERM, where that file has cap_net_raw=ep (bprm_caps_from_vfs_caps()).
int nj_capabilities_drop(uint64_t dropped)
{
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	int error = get(data);

	if (error)
		return error;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
		uint32_t kept = ~(uint32_t)(dropped >> 32 * i);

		data[i].effective &= kept;
		data[i].permitted &= kept;
		data[i].inheritable &= kept;
	}
	for (unsigned long number = 0; number < 64; number++)
		if (dropped & 1ULL << number && number != CAP_NET_RAW &&
		    prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0 && errno != EPERM)
			return -errno;
	return set(data);
}
