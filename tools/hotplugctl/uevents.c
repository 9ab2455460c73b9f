/*
 * What the kernel announces of memory and nodes, over a netlink socket: see uevents.h. An event is
 * only a reason to look; what is the case is read from /sys. So lost ones do no harm.
 *
 * With another /sys (SLABNODE_SYSFS) they come as datagrams to the socket `uevent` in it.
 */
#include "uevents.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "machine.h"
#include "util.h"

#define KERNEL_GROUP 1
#define LARGEST	     8192

static int open_netlink(void)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = KERNEL_GROUP};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);

	if (fd < 0 || !bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -1;
}

static int open_another(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/uevent", sysfs_root());
	unlink(address.sun_path);
	if (fd < 0 || !bind(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -1;
}

/* A descriptor to poll, or -1 with errno: then nothing is announced. */
int open_uevents(void)
{
	return sysfs_is_another() ? open_another() : open_netlink();
}

/* "offline@/devices/system/memory/memory42" and its like, of the kernel alone. */
static bool concerns_memory(const char *text, const struct sockaddr_nl *from)
{
	const char *path = strchr(text, '@');

	if (from->nl_family == AF_NETLINK && from->nl_pid)
		return false;
	return path && (!strncmp(path + 1, "/devices/system/memory/", 23) ||
			!strncmp(path + 1, "/devices/system/node/", 21));
}

/* Takes all that there are; whether one concerns memory or nodes, or some were lost. */
bool take_uevents(int descriptor)
{
	struct sockaddr_nl from = {0};
	socklen_t size = sizeof(from);
	char text[LARGEST + 1];
	bool any = false;
	ssize_t length;

	while ((length = recvfrom(descriptor, text, LARGEST, 0, (struct sockaddr *)&from, &size)) >=
	       0) {
		text[length] = '\0';
		any |= concerns_memory(text, &from);
		from = (struct sockaddr_nl){0};
		size = sizeof(from);
	}
	return any || errno == ENOBUFS;
}
