/*
 * tests/shim/failmalloc.c - memory that runs out at the n-th request, by LD_PRELOAD.
 *
 * ASSENT_FAILMALLOC=n makes the n-th call of malloc, calloc or realloc return NULL, and only
 * that one: what a program does next shows whether it looked. Only calls of the program itself
 * count; what its libraries do without memory is theirs.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/auxv.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static atomic_long calls;
static long failing; /* 0: none, also before main() */
static void *program;

__attribute__((constructor)) static void read_environment(void)
{
    const char *text = getenv("ASSENT_FAILMALLOC");
    Dl_info info;
    if (dladdr((void *)getauxval(AT_PHDR), &info) != 0)
        program = info.dli_fbase;
    failing = text == NULL ? 0 : strtol(text, NULL, 10);
}

static int fails(const void *caller)
{
    Dl_info info;
    if (failing == 0 || dladdr(caller, &info) == 0 || info.dli_fbase != program ||
        atomic_fetch_add(&calls, 1) + 1 != failing)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}
