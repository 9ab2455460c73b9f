/*
 * sizes.h - the size classes of malloc: 16-byte steps to 128, then four a doubling to 32 KiB.
 *
 * A class is a cache index, 1 to SN_NR_CLASSES.  The class of a size is one load from a byte
 * table: one table in steps of 16 bytes to 1 KiB, another in steps of 128 above it.  Spacing
 * and limits were chosen by measurement, docs/decisions.md.
 */
#ifndef SLABNODE_SIZES_H
#define SLABNODE_SIZES_H

#include "base.h"

#define SN_NR_CLASSES 40
#define SN_SMALL_MAX  1024
#define SN_CLASS_MAX  32768

extern const uint16_t sn_class_size[SN_NR_CLASSES + 1];
extern const uint8_t sn_class_small[SN_SMALL_MAX / 16 + 1] SN_HIDDEN;
extern const uint8_t sn_class_medium[SN_CLASS_MAX / 128 + 1] SN_HIDDEN;

/* For size <= SN_CLASS_MAX. */
SN_INLINE unsigned int sn_size_class(size_t size)
{
	if (sn_likely(size <= SN_SMALL_MAX))
		return sn_class_small[(size + 15) >> 4];
	return sn_class_medium[(size + 127) >> 7];
}

#endif
