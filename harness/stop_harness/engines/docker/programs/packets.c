/*
 * A bad network for whoever is in one network namespace: packets late, lost or rationed, and connections reset. A
 * static program of system calls alone, run by ../packet_container.py in the network of the container that is meant;
 * docs/faults.md says what for, and with which rights.
 *
 * It reads commands from standard input. When that ends, or at U, its rules go first, and what waits goes on at once.
 * It opens three netlink sockets and asks for one file, and writes nothing but lines to standard output. A rule lets
 * everything pass once nobody reads its queue. Times are ns, by CLOCK_MONOTONIC.
 *
 *   to it                                  from it
 *   R QUEUED LEAVES LOOPBACK PROTOCOL END PORT SIDE ADDRESS BITS
 *                                          (nothing)                 a rule of the next D
 *   D TOKEN IN OUT JITTER LOST RATE        A TOKEN ok RULES          so many are there, read back from the kernel
 *   U TOKEN                                A TOKEN ok 0              none is there, read back
 *   K TOKEN PORT                           A TOKEN ok CONNECTIONS    so many were reset, and none is left
 *                                          A TOKEN error STEP ERRNO  in place of any of these
 *                                          H VERSION STEP ERRNO RELEASE   once, at the start: how far it came
 *
 * QUEUED 0: a packet that fits passes, else it is disturbed; the first rule that fits counts. LEAVES 1: on the way out.
 * LOOPBACK 0: not there. PROTOCOL 0: any. END 0: any port, 1: from this port, 2: to it. SIDE 0: any address, 1: from
 * these, 2: to these of IPv4, which begin with so many BITS of ADDRESS. IN, OUT: so much later, JITTER more or less.
 * LOST of 1 000 000 000 packets are lost. RATE: bits a second, each way; 0: no limit. PORT 0: any.
 */

#include "connections.h"
#include "queue.h"

enum {
    PROTOCOL_VERSION = 1,
};

/* ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────────────── */

static int disturbed;

static long undo(void)
{
    long error = disturbed ? remove_of(NFT_MSG_DELRULE, NFTA_RULE_TABLE) : 0, left = error ? error : count_rules();
    take_packets();
    let_go(-1ul);
    if (!left && disturbed)
        left = remove_of(NFT_MSG_DELTABLE, NFTA_TABLE_NAME);
    disturbed = disturbed && left;
    if (left > 0)
        failed_step = "removal of rules";
    return left > 0 ? -BUSY : left;
}

static u64 take_time(const char **line)
{
    return least(take_number(line), MOST_NS);
}

static long disturb(const char *line)
{
    u32 wanted = 0;
    for (u32 family = 0; family < family_count; family++)
        for (u32 i = 0; i < rule_count; i++)
            wanted += (u32)of_family(&rules[i], families[family]);
    failed_step = "rules";
    if (disturbed || too_many_rules)
        return disturbed ? -BUSY : -TOO_BIG;
    course.in = take_time(&line);
    course.out = take_time(&line);
    course.jitter = take_time(&line);
    course.lost = take_number(&line);
    course.rate = take_number(&line);
    free_at[0] = free_at[1] = 0;
    long error;
    while ((error = try_rules())) {
        if (same_text(failed_step, "table") && !without_owner)
            without_owner = 1;
        else if (same_text(failed_step, "rule") && !by_target)
            by_target = 1;
        else
            return error;
    }
    disturbed = 1;
    long found = count_rules();
    if (found == (long)wanted)
        return found;
    undo();
    failed_step = "list of rules";
    return found < 0 ? found : -NO_ENTRY;
}

static void tell(u64 token, long result)
{
    put_char('A');
    put_number(token);
    put_text(result < 0 ? " error " : " ok");
    for (const char *letter = result < 0 ? failed_step : ""; *letter; letter++)
        put_char(*letter == ' ' ? '-' : *letter);
    put_number((u64)(result < 0 ? -result : result));
    put_char('\n');
}

static void take_rule(const char *line)
{
    if (rule_count == MOST_RULES) {
        too_many_rules = 1;
        return;
    }
    u32 *numbers = (u32 *)&rules[rule_count++];
    for (u32 i = 0; i < sizeof *rules / sizeof *numbers; i++)
        numbers[i] = (u32)take_number(&line);
}

static void obey(const char *line)
{
    char kind = *line++;
    if (kind == 'R') {
        take_rule(line);
        return;
    }
    u64 token = take_number(&line);
    if (kind == 'D') {
        tell(token, disturb(line));
        rule_count = 0;
        too_many_rules = 0;
    }
    if (kind == 'U')
        tell(token, undo());
    if (kind == 'K')
        tell(token, reset((u32)take_number(&line)));
}

static void end(void)
{
    undo();
    leave(0);
}

/* ── Start ────────────────────────────────────────────────────────────────────────────────────────────────────────── */

static void tell_start(const char *step, long error)
{
    struct { char field[6][65]; } system;
    call(__NR_uname, AS_LONG(&system), 0, 0, 0, 0, 0);
    put_text("H");
    put_number(PROTOCOL_VERSION);
    put_char(' ');
    put_text(step);
    put_number((u64)-error);
    put_char(' ');
    put_text(system.field[2]);
    put_char('\n');
    flush();
    if (error)
        leave(3);
}

static void start(void)
{
    long error, ipv6 = call(__NR_openat, AT_FDCWD_, AS_LONG("/proc/net/if_inet6"), 0, 0, 0, 0);
    if (ipv6 >= 0) {
        call(__NR_close, ipv6, 0, 0, 0, 0, 0);
        family_count = 2;
    }
    if ((rules_socket = open_socket(NETLINK_NETFILTER)) < 0)
        tell_start("netfilter", rules_socket);
    if ((queue_socket = open_socket(NETLINK_NETFILTER)) < 0)
        tell_start("netfilter", queue_socket);
    if ((diagnosis_socket = open_socket(NETLINK_SOCK_DIAG)) < 0)
        tell_start("connections", diagnosis_socket);
    if ((error = open_queue()))
        tell_start("queue", error);
    tell_start("ready", 0);
}

__attribute__((used, noreturn)) void begin(void)
{
    start();
    for (;;) {
        take_packets();
        u64 now = now_ns();
        let_go(now);
        u64 left = waiting_count && waiting[0].goes > now ? waiting[0].goes - now : 0;
        long patience[2] = {(long)(left / NS_PER_S), (long)(left % NS_PER_S)};
        struct poll_entry entries[2] = {{(int)queue_socket, POLLIN_, 0}, {0, POLLIN_, 0}};
        wait_for(entries, 2, waiting_count ? patience : 0);
        if (entries[1].got)
            take_input();
        flush();
    }
}
