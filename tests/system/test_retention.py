"""For how long outcomes and keys are remembered, by a real assentd."""

import time

from harness import wait_until


def restart(process):
    process.kill()
    process.start()


def key_of(bank, key):
    return bank.ctl("outcome", "--key", key)
