# SPDX-License-Identifier: MIT
"""An everyday script: records built, indexed, joined, serialised and parsed again."""
import json
import random
import sys

ROUNDS = int(sys.argv[1])


class Record:
    def __init__(self, key, name, tags):
        self.key = key
        self.name = name
        self.tags = tags


def build(rng, count):
    return [Record(i, "name-%d" % rng.randrange(count), [str(rng.random()) for _ in range(i % 5)])
            for i in range(count)]


def index(records):
    table = {}
    for record in records:
        table.setdefault(record.name, []).append(record)
    return table


def main():
    rng = random.Random(1)
    total = 0
    for _ in range(ROUNDS):
        table = index(build(rng, 20000))
        text = json.dumps({name: [(r.key, r.tags) for r in found]
                           for name, found in table.items()})
        back = json.loads(text)
        if sum(len(found) for found in back.values()) != 20000:
            sys.exit("records were lost")
        words = sorted(text.replace(",", " ").split())
        total += len("".join(words))
    print(total)


main()
