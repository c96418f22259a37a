/*
 * bench/processes.c - how much CPU time the parties have used.
 *
 * From /proc: all threads of a process, and for a PostgreSQL server all of its processes, those
 * included that have ended since. And how much memory a process has touched.
 */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/bench.h"

static double timeval_us(struct timeval value)
{
    return (double)value.tv_sec * 1e6 + (double)value.tv_usec;
}

double cpu_self_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return timeval_us(usage.ru_utime) + timeval_us(usage.ru_stime);
}

/* Its own time, and what its children had used that have ended. 0 when it is gone. */
static double read_stat(pid_t pid, double *children_us)
{
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    long children_user = 0, children_system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    *children_us = 0;
    if (file == NULL)
        return 0;
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[length] = '\0';
    /* The name is in parentheses and may hold anything. */
    const char *behind = strrchr(text, ')');
    if (behind == NULL ||
        sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %ld %ld", &user,
               &system, &children_user, &children_system) != 4)
        return 0;
    double tick_us = 1e6 / (double)sysconf(_SC_CLK_TCK);
    *children_us = (double)(children_user + children_system) * tick_us;
    return (double)(user + system) * tick_us;
}

double cpu_process_us(pid_t pid)
{
    double children_us;
    return pid == 0 ? 0 : read_stat(pid, &children_us);
}

double cpu_family_us(pid_t pid)
{
    char path[64];
    double children_us;
    int child;
    if (pid == 0)
        return 0;
    double total_us = read_stat(pid, &children_us);
    total_us += children_us;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return total_us;
    while (fscanf(file, "%d", &child) == 1)
        total_us += read_stat(child, &children_us);
    fclose(file);
    return total_us;
}

double memory_bytes(pid_t pid)
{
    char path[64];
    unsigned long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*u %lu", &pages) != 1)
        pages = 0;
    fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}
