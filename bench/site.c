/*
 * bench/site.c - throw-away clusters and daemons, in one folder, for one run.
 *
 * The clusters are as initdb makes them, fsync included, but for the room that the clients and
 * the agents need. All that was started ends with us, by its pid, also when we are killed; the
 * folder goes with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"

enum { STARTED_MAX = 2 * DATABASES_MAX + SITES, START_S = 30, FOLDER_BYTES = 64 };

static char folder[FOLDER_BYTES]; /* "" none; short: a socket's path has 107 bytes */
static pid_t started[STARTED_MAX];
static int stop_signals[STARTED_MAX];
static uint32_t started_count;
static struct passwd *server_user; /* PostgreSQL does not run as root; NULL: as ourselves */

/* ---- programs ---- */

static void become(const struct passwd *user)
{
    if (initgroups(user->pw_name, user->pw_gid) != 0 || setgid(user->pw_gid) != 0 ||
        setuid(user->pw_uid) != 0)
        _exit(126);
}

/* The child ends with us, whatever ends us. */
static pid_t spawn(const char *log, const struct passwd *user, int parting, char *const argv[])
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        stop("fork: %s", strerror(errno));
    if (pid > 0)
        return pid;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0); /* an interrupt at the keyboard is ours: we end them in order */
    int file = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(nothing, 0);
    dup2(file, 1);
    dup2(file, 2);
    if (user != NULL)
        become(user);
    prctl(PR_SET_PDEATHSIG, parting);
    if (getppid() == parent)
        execv(argv[0], argv);
    _exit(127);
}

static void tell_log(const char *log)
{
    char line[1024];
    FILE *file = fopen(log, "r");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL)
        fputs(line, stderr);
    fclose(file);
}

static void run_program(const char *log, const struct passwd *user, char *const argv[])
{
    int status;
    pid_t pid = spawn(log, user, SIGKILL, argv);
    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return;
    tell_log(log);
    stop("%s has failed", argv[0]);
}

static pid_t start_program(const char *log, const struct passwd *user, int parting,
                           char *const argv[])
{
    pid_t pid = spawn(log, user, parting, argv);
    started[started_count] = pid;
    stop_signals[started_count++] = parting;
    return pid;
}

/* ours is beside us, or where the build or the installation has put it. */
static void find_ours(const char *name, char out[PATH_BYTES])
{
    static const char *const places[] = {".", "..", "../sbin"};
    char self[PATH_BYTES];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        stop("/proc/self/exe: %s", strerror(errno));
    self[length] = '\0';
    const char *here = dirname(self);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int needed = snprintf(out, PATH_BYTES, "%s/%s/%s", here, places[i], name);
        struct stat status;
        if (needed < PATH_BYTES && stat(out, &status) == 0 && S_ISREG(status.st_mode))
            return;
    }
    stop("there is no %s beside %s, nor in ../sbin: build or install it", name, here);
}

static void find_postgresql(const char *name, char out[PATH_BYTES])
{
    glob_t found;
    char pattern[PATH_BYTES];
    const char *path = getenv("PATH");
    char *copy = strdup(path == NULL ? "" : path), *rest = NULL;
    for (char *at = copy == NULL ? NULL : strtok_r(copy, ":", &rest); at != NULL;
         at = strtok_r(NULL, ":", &rest))
        if (snprintf(out, PATH_BYTES, "%s/%s", at, name) < PATH_BYTES && access(out, X_OK) == 0) {
            free(copy);
            return;
        }
    free(copy);
    snprintf(pattern, sizeof pattern, "/usr/lib/postgresql/*/bin/%s", name);
    if (glob(pattern, 0, NULL, &found) != 0)
        stop("PostgreSQL's server programs are not installed (Debian: postgresql)");
    snprintf(out, PATH_BYTES, "%s", found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
}

/* ---- files ---- */

static void write_file(const char *path, const char *mode, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void write_file(const char *path, const char *mode, const char *format, ...)
{
    va_list values;
    FILE *file = fopen(path, mode);
    if (file == NULL)
        stop("%s: %s", path, strerror(errno));
    va_start(values, format);
    vfprintf(file, format, values);
    va_end(values);
    if (fclose(file) != 0)
        stop("%s: %s", path, strerror(errno));
}

static void make_folder(const char *in)
{
    if (folder[0] != '\0')
        return;
    if (strlen(in) > FOLDER_BYTES - 24)
        stop("--folder: at most %d bytes, a socket's path has to be short", FOLDER_BYTES - 24);
    snprintf(folder, sizeof folder, "%s/assent-bench.XXXXXX", in);
    if (mkdtemp(folder) == NULL)
        stop("%s: %s", folder, strerror(errno));
    chmod(folder, 0755);
    if (geteuid() != 0)
        return;
    server_user = getpwnam("postgres");
    if (server_user == NULL)
        server_user = getpwnam("nobody");
    if (server_user == NULL || chown(folder, server_user->pw_uid, server_user->pw_gid) != 0)
        stop("PostgreSQL does not run as root, and there is no user postgres or nobody");
}

/* ---- clusters ---- */

static void make_cluster(const struct bench *bench, uint32_t number)
{
    char program[PATH_BYTES], data[PATH_BYTES], path[PATH_BYTES], log[PATH_BYTES];
    uint32_t connections = 2 * bench->clients_most + bench->options.pool + 20;
    find_postgresql("initdb", program);
    snprintf(data, sizeof data, "%s/pg%u", folder, number + 1);
    snprintf(log, sizeof log, "%s/initdb.log", folder);
    char *const argv[] = {
        program,           "-D",         data, "-U", "postgres", "--auth=trust", "--no-sync",
        "--encoding=UTF8", "--locale=C", NULL};
    run_program(log, server_user, argv);
    snprintf(path, sizeof path, "%s/postgresql.conf", data);
    write_file(path, "a",
               "unix_socket_directories = '%s'\nlisten_addresses = ''\n"
               "max_prepared_transactions = %u\nmax_connections = %u\n",
               data, 2 * bench->clients_most + 64, connections);
}

static bool server_answers(const char *conninfo)
{
    return PQping(conninfo) == PQPING_OK;
}

static void start_cluster(struct database_site *site, uint32_t number)
{
    char program[PATH_BYTES], data[PATH_BYTES], log[PATH_BYTES];
    find_postgresql("postgres", program);
    snprintf(data, sizeof data, "%s/pg%u", folder, number + 1);
    snprintf(log, sizeof log, "%s/pg%u.log", folder, number + 1);
    char *const argv[] = {program, "-D", data, NULL};
    site->server_pid = start_program(log, server_user, SIGINT, argv);
    snprintf(site->conninfo, sizeof site->conninfo, "host=%s dbname=postgres user=postgres", data);
    for (uint64_t until_ms = loop_now_ms() + START_S * 1000; !server_answers(site->conninfo);) {
        if (loop_now_ms() > until_ms || waitpid(site->server_pid, NULL, WNOHANG) != 0) {
            tell_log(log);
            stop("PostgreSQL does not start");
        }
        usleep(50 * 1000);
    }
}

/* As it should be done: the agent is no superuser but a member of the application's role. */
static void make_roles(const struct database_site *site)
{
    static const char sql[] =
        "CREATE ROLE app LOGIN; CREATE ROLE assent LOGIN; GRANT app TO assent;"
        " GRANT CREATE ON SCHEMA public TO app";
    PGconn *conn = PQconnectdb(site->conninfo);
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        stop("%s", PQerrorMessage(conn));
    PQclear(result);
    PQfinish(conn);
}

/* ---- daemons ---- */

static void start_agent(const struct bench *bench, struct database_site *site, uint32_t number)
{
    char program[PATH_BYTES], ini[PATH_BYTES], log[PATH_BYTES], admin[PATH_BYTES];
    find_ours("assent-agent", program);
    memcpy(admin, site->conninfo, sizeof admin);
    snprintf(site->rm, sizeof site->rm, "db%u", number + 1);
    snprintf(site->agent_url, sizeof site->agent_url, "ipc://%s/%s.sock", folder, site->rm);
    snprintf(ini, sizeof ini, "%s/%s.ini", folder, site->rm);
    snprintf(log, sizeof log, "%s/%s.log", folder, site->rm);
    write_file(
        ini, "w",
        "[agent]\nrm = %s\nlisten = %s\nconninfo = host=%s/pg%u dbname=postgres user=assent\n"
        "pool_size = %u\nmax_sessions = %u\n"
        "[exec app]\nconninfo = host=%s/pg%u dbname=postgres user=app\n",
        site->rm, site->agent_url, folder, number + 1, bench->options.pool, bench->clients_most + 8,
        folder, number + 1);
    char *const install[] = {program, "-c", ini, "--install-schema", "--conninfo", admin, NULL};
    run_program(log, NULL, install);
    char *const argv[] = {program, "-c", ini, NULL};
    site->agent_pid = start_program(log, NULL, SIGTERM, argv);
}

static void start_coordinator(struct coordinator_site *site, const char *name, const char *rms,
                              int parting)
{
    char program[PATH_BYTES], ini[PATH_BYTES], log[PATH_BYTES];
    find_ours("assentd", program);
    snprintf(site->url, sizeof site->url, "ipc://%s/%s.sock", folder, name);
    snprintf(ini, sizeof ini, "%s/%s.ini", folder, name);
    snprintf(log, sizeof log, "%s/%s.log", folder, name);
    write_file(ini, "w",
               "[tm]\nname = %s\ndata_dir = %s/%s\nlisten = %s\n"
               "max_waiting = %d\nmax_transactions = %d\nmax_branches = %d\n%s",
               name, folder, name, site->url, CLIENTS_MAX * BATCH_LARGEST, LIVE_MAX + LIVE_SPARE,
               2 * (LIVE_MAX + LIVE_SPARE), rms);
    char *const argv[] = {program, "-c", ini, NULL};
    site->pid = start_program(log, NULL, parting, argv);
}

static void add_rm(char *rms, size_t room, const char *name, const char *url)
{
    size_t length = strlen(rms);
    snprintf(rms + length, room - length, "[rm %s]\nurl = %s\n", name, url);
}

void site_databases(struct bench *bench)
{
    char rms[DATABASES_MAX * (URL_BYTES + RM_NAME_BYTES + 16)] = "";
    make_folder(bench->options.folder);
    for (uint32_t i = 0; i < bench->databases_most; i++) {
        struct database_site *site = &bench->databases[i];
        make_cluster(bench, i);
        start_cluster(site, i);
        make_roles(site);
        start_agent(bench, site, i);
        snprintf(site->conninfo, sizeof site->conninfo, "host=%s/pg%u dbname=postgres user=app",
                 folder, i + 1);
        add_rm(rms, sizeof rms, site->rm, site->agent_url);
    }
    start_coordinator(&bench->coordinators[SITE_DATABASES], "bank", rms, SIGTERM);
}

/* Each coordinator has agents of its own. */
void site_stubs(struct bench *bench, enum site at)
{
    static const char *const names[SITES] = {
        [SITE_STUBS] = "stub", [SITE_REMEMBERING] = "remembering", [SITE_LIVE] = "live"};
    char rms[DATABASES_MAX * (URL_BYTES + RM_NAME_BYTES + 16)] = "";
    make_folder(bench->options.folder);
    for (uint32_t i = 0; i < bench->databases_most; i++) {
        char name[RM_NAME_BYTES], url[URL_BYTES];
        snprintf(name, sizeof name, "stub%u", i + 1);
        snprintf(url, sizeof url, "ipc://%s/%s-%s.sock", folder, names[at], name);
        stub_listen(bench->loop, url, name);
        add_rm(rms, sizeof rms, name, url);
    }
    /* It would wait for what is live. */
    start_coordinator(&bench->coordinators[at], names[at], rms,
                      at == SITE_LIVE ? SIGKILL : SIGTERM);
}

/* ---- the end ---- */

static void end(pid_t pid, int parting)
{
    kill(pid, parting);
    for (uint64_t until_ms = loop_now_ms() + START_S * 1000; loop_now_ms() < until_ms;) {
        if (waitpid(pid, NULL, WNOHANG) != 0)
            return;
        usleep(10 * 1000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* The last one first: coordinators, then agents, then servers. */
void site_close(void)
{
    while (started_count > 0) {
        started_count--;
        end(started[started_count], stop_signals[started_count]);
    }
    if (folder[0] == '\0')
        return;
    char log[] = "/dev/null";
    char remove[] = "/bin/rm", recursively[] = "-rf";
    char *const argv[] = {remove, recursively, folder, NULL};
    pid_t pid = spawn(log, NULL, SIGKILL, argv);
    waitpid(pid, NULL, 0);
    folder[0] = '\0';
}
