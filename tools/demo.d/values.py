"""What the demo stores. Every value follows from its database, key and version alone, so that a
reader who knows these three knows each byte that must come back, and nothing has to be kept."""

import random

_POOL = random.Random("slabnode demo").randbytes(1 << 17)
_LONGEST = 1 << 14
_MIXER = 0x9E3779B97F4A7C15


def key(database, number):
    return b"demo:%d:%d" % (database, number)


def value(database, number, version):
    """Mostly 40 to 1063 bytes; one in 64 is a long one of up to 16 KiB."""
    mixed = ((number * 1000003 + version) * 31 + database) * _MIXER & (1 << 64) - 1
    length = 40 + (mixed >> 54)
    if mixed >> 40 & 63 == 0:
        length = length * 16 % _LONGEST
    start = mixed >> 20 & (len(_POOL) - _LONGEST) - 1
    return b"%d/%d/%d/" % (database, number, version) + _POOL[start:start + length]
