/*
 * tests/fuzz/fuzz_conf.c - configuration files of any content.
 *
 * Read as the coordinator's and as the agent's: each is taken, within its limits, or refused
 * with a message.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rm-agent/config.h"
#include "tm/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct settings settings;
    static struct agent_options options;
    struct error error = {.message = ""};
    char path[64];
    int fd = memfd_create("conf", 0);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (settings_read(path, &settings, &error) == 0)
        assert(settings.rm_count > 0 && settings.rm_count <= RMS_MAX &&
               tm_name_valid(settings.tm, strlen(settings.tm)));
    else
        assert(error.message[0] != '\0');
    error.message[0] = '\0';
    if (config_read(path, &options, &error) == 0)
        assert(rm_name_valid(options.rm, strlen(options.rm)));
    else
        assert(error.message[0] != '\0');
    close(fd);
    return 0;
}
