/*
 * The witness: hears of every fork, exec and exit on this machine, and tells of those below the containers it is asked
 * about. A static program of system calls alone, run by ../witness.py as a container of its own; docs/witness.md says
 * with which rights, and how to build it again.
 *
 * It reads commands from standard input and ends with it. It opens nothing but files below /proc, and writes nothing
 * but lines to standard output. Pids are the machine's, times CLOCK_MONOTONIC in ns.
 *
 *   to it                    from it
 *   W TOKEN PID JOBS ID      P ROOT PID TIME THREADS NSPIDS NAME       a process found by a look; ROOT comes first
 *                            A TOKEN ok | gone | foreign | restless    the look is over
 *   M TOKEN                  A TOKEN ok                                all that the kernel said before has been told
 *   U PID                    (nothing)                                 this container no longer
 *                            H VERSION STEP ERRNO BUFFER RELEASE       once, at the start: how far it came
 *                            E WHAT TIME LEAVING N0 N1 N2 N3 N4 N5     an event of a process below such a container
 *                            N PID THREADS NSPIDS NAME                 it has a name, or a new one
 *                            O                                         events are missing for good
 *
 * PID and ROOT are a container's first process. JOBS 1: what was started in it from outside counts, too. ID must stand
 * in the cgroup of PID; where PID is not PID 1, the container shares its PID namespace, and everybody in such a cgroup
 * counts. WHAT and N0 to N5 are those of <linux/cn_proc.h>; LEAVING is 1 if ROOT had begun to exit when the
 * exit was read, else 0, and 2 for other events.
 */

#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>

#include "proc.h"

enum {
    PROTOCOL_VERSION = 1,
    PIDS = 1 << 22,            /* PID_MAX_LIMIT of 64-bit kernels */
    WANTED_BUFFER = 64 << 20,  /* 80 000 events: 5 s of two busy fork loops (measured) */
    FALLBACK_BUFFER = 4 << 20, /* what SO_RCVBUF makes of it is limited by net.core.rmem_max */
    MOST_LOOKS = 8,            /* a container that starts processes faster than that is not followed */
    MOST_PROCESSES = 20000,    /* of one look */
    MOST_WATCHES = 4096,       /* containers at once */
    LONGEST_ID = 128,
    MOST_LAG_NS = 100000000,   /* what was lost this long ago can no longer be found out by a look */
    ACKNOWLEDGE_MS = 1000,
};

/* ── Who counts ───────────────────────────────────────────────────────────────────────────────────────────────────── */

static u32 root_of[PIDS]; /* a container's PID 1, by the pid of a process below it; 0: nobody's */
static u32 seen_in[PIDS]; /* the number of the last walk that met this pid */
static byte watched[PIDS]; /* by the pid of a PID 1 */
static u32 roots[MOST_WATCHES], root_count; /* the same as a list */
static char cgroup_of[MOST_WATCHES][LONGEST_ID]; /* of each: what tells it from those that share its PID namespace, or "" */
static u32 found[MOST_PROCESSES];
static u32 walk_number;
static u64 last_walk_ns;

static u32 watched_root(u32 pid)
{
    u32 root = pid < PIDS ? root_of[pid] : 0;
    return root && watched[root] ? root : 0;
}

static u32 add_found(u32 count, u32 pid)
{
    if (pid && pid < PIDS && seen_in[pid] != walk_number && count < MOST_PROCESSES) {
        seen_in[pid] = walk_number;
        found[count++] = pid;
    }
    return count;
}

struct directory_entry {
    u64 inode, offset;
    u16 size;
    byte type;
    char name[];
};

/* Appends the children of all threads to what the walk has found. */
static u32 add_children(u32 count, u32 pid)
{
    static char entries[8192], text[65536];
    long threads = open_below(pid, "/task", 0, ""), size;
    if (threads < 0)
        return count;
    while ((size = call(__NR_getdents64, threads, AS_LONG(entries), sizeof entries, 0, 0, 0)) > 0)
        for (long at = 0; at < size; at += ((struct directory_entry *)(entries + at))->size) {
            const char *name = ((struct directory_entry *)(entries + at))->name;
            if (!is_digit(*name))
                continue;
            u32 thread = (u32)take_number(&name);
            read_all(open_below(pid, "/task/", thread, "/children"), text, sizeof text);
            for (const char *place = text; is_digit(*place); place += *place == ' ')
                count = add_found(count, (u32)take_number(&place));
        }
    call(__NR_close, threads, 0, 0, 0, 0, 0);
    return count;
}

static int in_cgroup(u32 pid, const char *id)
{
    static char text[16384];
    return read_all(open_below(pid, "/cgroup", 0, ""), text, sizeof text) && contains(text, id);
}

/* What was started in the container from outside: its parent is that of PID 1, and it has the container's cgroup. The
 * engine's own helper bears the name `runc:[...]` until it becomes the command. */
static u32 add_jobs(u32 count, u32 root, const char *id)
{
    static u32 siblings[MOST_PROCESSES];
    if (!read_status(root))
        return count;
    const char *parent = line_of(status, "PPid:\t");
    u32 begin = count, kept = count;
    if (!parent)
        return count;
    count = add_children(count, (u32)take_number(&parent));
    for (u32 i = begin; i < count; i++)
        siblings[i] = found[i];
    for (u32 i = begin; i < count; i++)
        if (in_cgroup(siblings[i], id) && read_status(siblings[i]) && !line_of(status, "Name:\trunc:["))
            found[kept++] = siblings[i];
        else
            seen_in[siblings[i]] = 0;
    return kept;
}

/* Of the status at hand, how many PID namespaces the process is in, and its number in the last of them. */
static u32 depth(u32 *number)
{
    u32 count = 0;
    for (const char *pids = line_of(status, "NSpid:\t"); is_digit(*pids); count++) {
        *number = (u32)take_number(&pids);
        while (*pids == '\t')
            pids++;
    }
    return count;
}

/* Everybody in the container's cgroup, but not the engine's helpers outside of its PID namespace. */
static u32 add_members(u32 count, u32 root, const char *id)
{
    static char entries[8192];
    u32 number, least = read_status(root) ? depth(&number) : 0;
    long all = call(__NR_openat, AT_FDCWD_, AS_LONG("/proc"), 0, 0, 0, 0), size;
    if (all < 0 || !least)
        return count;
    while ((size = call(__NR_getdents64, all, AS_LONG(entries), sizeof entries, 0, 0, 0)) > 0)
        for (long at = 0; at < size; at += ((struct directory_entry *)(entries + at))->size) {
            const char *name = ((struct directory_entry *)(entries + at))->name;
            if (!is_digit(*name))
                continue;
            u32 pid = (u32)take_number(&name);
            if (in_cgroup(pid, id) && read_status(pid) && depth(&number) >= least && !line_of(status, "Name:\trunc:["))
                count = add_found(count, pid);
        }
    call(__NR_close, all, 0, 0, 0, 0, 0);
    return count;
}

enum who { BELOW_ROOT, WITH_JOBS, IN_CGROUP };

/* One look at everybody of a container: tells of those that were not known, and returns how many. After lost
 * events it tells of `everybody`, since a pid may be somebody else's by now. */
static u32 walk(u32 root, enum who who, const char *id, int everybody)
{
    u32 fresh = 0, count;
    walk_number++;
    count = add_found(0, root);
    if (who == WITH_JOBS)
        count = add_jobs(count, root, id);
    if (who == IN_CGROUP)
        count = add_members(count, root, id);
    for (u32 i = 0; i < count; i++)
        count = add_children(count, found[i]);
    for (u32 i = 0; i < count; i++) {
        u32 pid = found[i];
        int known = root_of[pid] == root;
        if (known && !everybody)
            continue;
        root_of[pid] = root;
        u64 at = now_ns();
        /* Read after it was added: if it still lives now, the event of its exit is yet to come. */
        if (!read_status(pid))
            continue;
        put_char('P');
        put_number(root);
        put_number(pid);
        put_number(at);
        put_status();
        fresh += !known;
    }
    last_walk_ns = now_ns();
    return count == MOST_PROCESSES ? 1 : fresh;
}

/* ── Events ───────────────────────────────────────────────────────────────────────────────────────────────────────── */

struct __attribute__((packed)) event {
    struct nlmsghdr netlink;
    struct cn_msg connector;
    u32 what, cpu;
    u64 at;
    u32 numbers[6];
};

static long netlink;
static int gap;
static u32 next_sequence[8192]; /* by CPU */
static byte sequence_known[8192];
static u32 unnamed[4096], unnamed_count;

static void tell_event(const struct event *event, u32 leaving)
{
    put_char('E');
    put_number(event->what);
    put_number(event->at);
    put_number(leaving);
    for (u32 i = 0; i < 6; i++)
        put_number(event->numbers[i]);
    put_char('\n');
}

static void tell_names(void)
{
    for (u32 i = 0; i < unnamed_count; i++)
        if (read_status(unnamed[i])) {
            put_char('N');
            put_number(unnamed[i]);
            put_status();
        }
    unnamed_count = 0;
}

/* Names are read when the socket is empty: a name can wait, an event cannot. */
static void name_later(u32 pid)
{
    if (unnamed_count == sizeof unnamed / sizeof *unnamed)
        tell_names();
    unnamed[unnamed_count++] = pid;
}

static void take(const struct event *event)
{
    const u32 *number = event->numbers;
    u32 pid = number[1], root;
    if (event->what == 0) /* somebody began to listen */
        return;
    if (event->cpu < sizeof sequence_known) {
        if (sequence_known[event->cpu] && next_sequence[event->cpu] != event->connector.seq)
            gap = 1;
        if (gap && now_ns() - event->at > MOST_LAG_NS) {
            put_text("O\n");
            gap = 0;
        }
        sequence_known[event->cpu] = 1;
        next_sequence[event->cpu] = event->connector.seq + 1;
    }
    switch (event->what) {
    case 0x1: /* PROC_EVENT_FORK: parent thread and process, child thread and process */
        root = watched_root(pid);
        if (number[2] == number[3] && number[3] < PIDS) {
            if (root)
                name_later(number[3]);
            /* A pid that is used again is nobody's; but an event older than the last look knows less than that. */
            if (root || event->at > last_walk_ns)
                root_of[number[3]] = root;
        }
        if (root)
            tell_event(event, 2);
        break;
    case 0x80000000u: /* PROC_EVENT_EXIT: thread, process, status, signal, the parent's thread and process */
        root = watched_root(pid);
        if (!root)
            root = watched_root(number[5]); /* the event of its fork was lost */
        if (root)
            tell_event(event, (number[2] & 0x7f) == 9 && pid != root ? (u32)is_leaving(root) : 2);
        break;
    case 0x2:   /* PROC_EVENT_EXEC */
    case 0x200: /* PROC_EVENT_COMM */
        if (watched_root(pid)) {
            tell_event(event, 2);
            name_later(pid);
        }
    }
}

/* Takes all that the kernel has said so far. The acknowledgement with this number is its answer to our request: the
 * error in it, else -1. */
static long drain(u32 acknowledgement)
{
    union {
        struct event event;
        byte bytes[256];
    } message;
    long answer = -1;
    for (;;) {
        struct sockaddr_nl from;
        u32 from_size = sizeof from;
        long size = call(__NR_recvfrom, netlink, AS_LONG(&message), sizeof message, MSG_DONTWAIT_, AS_LONG(&from),
                         AS_LONG(&from_size));
        if (size == -EINTR_)
            continue;
        if (size == -ENOBUFS_) {
            put_text("O\n");
            continue;
        }
        if (size < 0)
            break;
        if (size < (long)sizeof message.event || from.nl_pid)
            continue;
        if (acknowledgement && message.event.what == 0 && message.event.connector.ack == acknowledgement)
            answer = message.event.numbers[0];
        take(&message.event);
    }
    /* A few events were lost, short of memory. The child of a lost fork is found now, or by its exit. A lost exit
     * leaves a process without an end, and whoever asks without an answer. */
    for (u32 i = 0; gap && i < root_count; i++)
        walk(roots[i], *cgroup_of[i] ? IN_CGROUP : BELOW_ROOT, cgroup_of[i], 1);
    gap = 0;
    tell_names();
    return answer;
}

/* ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────────────── */

static void answer(u64 token, const char *word)
{
    put_char('A');
    put_number(token);
    put_char(' ');
    put_text(word);
    put_char('\n');
}

static const char *watch(u32 pid, int jobs, const char *id)
{
    u32 number = 0, size = 0;
    if (!pid || pid >= PIDS || !read_status(pid))
        return "gone";
    int own = depth(&number) > 1 && number == 1; /* a PID namespace */
    while (id[size])
        size++;
    if (!size || size >= LONGEST_ID || !in_cgroup(pid, id))
        return "foreign"; /* this pid is something else on this machine */
    if (!watched[pid]) {
        if (root_count == MOST_WATCHES)
            return "restless";
        for (u32 i = 0; i <= size; i++)
            cgroup_of[root_count][i] = own ? 0 : id[i];
        roots[root_count++] = pid;
    }
    watched[pid] = 1;
    root_of[pid] = 0; /* told by the first look, like everybody below it */
    for (u32 looks = 0; looks < MOST_LOOKS; looks++) {
        drain(0);
        if (!walk(pid, own ? jobs ? WITH_JOBS : BELOW_ROOT : IN_CGROUP, id, 0))
            return "ok";
    }
    return "restless";
}

static void end(void)
{
    leave(0);
}

static void obey(const char *line)
{
    char kind = *line++;
    u64 token = take_number(&line); /* of U it is the pid */
    if (kind == 'U' && token < PIDS && watched[token]) {
        watched[token] = 0;
        for (u32 i = 0; i < root_count; i++)
            if (roots[i] == token) {
                for (u32 at = 0; at < LONGEST_ID; at++)
                    cgroup_of[i][at] = cgroup_of[root_count - 1][at];
                roots[i--] = roots[--root_count];
            }
    }
    if (kind == 'W') {
        u32 pid = (u32)take_number(&line);
        int jobs = (int)take_number(&line);
        while (*line == ' ')
            line++;
        const char *word = watch(pid, jobs, line);
        answer(token, word);
    }
    if (kind == 'M') {
        drain(0);
        answer(token, "ok");
    }
}

/* ── Start ────────────────────────────────────────────────────────────────────────────────────────────────────────── */

static void tell_start(const char *step, long error)
{
    struct { char field[6][65]; } system;
    int buffer = 0, size = sizeof buffer;
    call(__NR_uname, AS_LONG(&system), 0, 0, 0, 0, 0);
    if (netlink >= 0)
        call(__NR_getsockopt, netlink, SOL_SOCKET_, SO_RCVBUF_, AS_LONG(&buffer), AS_LONG(&size), 0);
    put_text("H");
    put_number(PROTOCOL_VERSION);
    put_char(' ');
    put_text(step);
    put_number((u64)-error);
    put_number((u64)buffer);
    put_char(' ');
    put_text(system.field[2]);
    put_char('\n');
    flush();
    if (error)
        leave(3);
}

/* Only the acknowledgement counts: outside the first namespaces the kernel ignores the request without a word, and
 * events may come all the same as long as somebody else listens. */
static void listen(void)
{
    struct sockaddr_nl own = {.nl_family = AF_NETLINK_, .nl_groups = CN_IDX_PROC};
    u32 own_size = sizeof own;
    int wanted = WANTED_BUFFER, fallback = FALLBACK_BUFFER;
    long error;
    netlink = call(__NR_socket, AF_NETLINK_, SOCK_DGRAM_, NETLINK_CONNECTOR, 0, 0, 0);
    if (netlink < 0)
        tell_start("socket", netlink);
    if (call(__NR_setsockopt, netlink, SOL_SOCKET_, SO_RCVBUFFORCE_, AS_LONG(&wanted), sizeof wanted, 0))
        call(__NR_setsockopt, netlink, SOL_SOCKET_, SO_RCVBUF_, AS_LONG(&fallback), sizeof fallback, 0);
    if ((error = call(__NR_bind, netlink, AS_LONG(&own), sizeof own, 0, 0, 0)))
        tell_start("bind", error);
    call(__NR_getsockname, netlink, AS_LONG(&own), AS_LONG(&own_size), 0, 0, 0);
    struct __attribute__((packed)) {
        struct nlmsghdr netlink;
        struct cn_msg connector;
        u32 operation;
    } request = {
        .netlink = {.nlmsg_len = sizeof request, .nlmsg_type = NLMSG_DONE, .nlmsg_pid = own.nl_pid},
        .connector = {.id = {CN_IDX_PROC, CN_VAL_PROC}, .ack = own.nl_pid, .len = sizeof request.operation},
        .operation = PROC_CN_MCAST_LISTEN,
    };
    error = call(__NR_sendto, netlink, AS_LONG(&request), sizeof request, 0, 0, 0);
    if (error < 0)
        tell_start("listen", error);
    u64 deadline = now_ns() + ACKNOWLEDGE_MS * 1000000ul;
    for (u64 now; (now = now_ns()) < deadline;) {
        struct poll_entry entry = {(int)netlink, POLLIN_, 0};
        long patience[2] = {0, (long)(deadline - now) - 1}; /* less than a second */
        wait_for(&entry, 1, patience);
        long answered = drain(own.nl_pid + 1);
        if (answered >= 0) {
            tell_start("acknowledge", -answered);
            return;
        }
    }
    tell_start("acknowledge", -ETIMEDOUT_);
}

__attribute__((used, noreturn)) void begin(void)
{
    listen();
    for (;;) {
        struct poll_entry entries[2] = {{(int)netlink, POLLIN_, 0}, {0, POLLIN_, 0}};
        wait_for(entries, 2, 0);
        if (entries[0].got)
            drain(0);
        if (entries[1].got)
            take_input();
        flush();
    }
}
