/*
 * The packets that wait in the queue of `packets`, each until its time.
 */

#pragma once

#include <linux/netfilter/nfnetlink_queue.h>

#include "rules.h"

enum {
    MOST_WAITING = 65536, /* packets at once; what comes on top is lost, as in a router */
    COPIED = 40,          /* bytes of a packet, which nobody looks into: its whole length is told beside */
    WANTED_BUFFER = 8 << 20,
    QUEUE_TRIES = 32,
};

#define NS_PER_S 1000000000ul
#define MOST_NS (1ul << 60)           /* of one delay: 36 years, and no sum of them overflows */
#define LONGEST_BACKLOG_NS NS_PER_S   /* of a link with a bandwidth */
#define MOST_PACKET_BYTES (1ul << 20) /* likewise, times 8 000 000 000 */

static long queue_socket; /* NETLINK_NETFILTER */

static u64 least(u64 one, u64 other)
{
    return one < other ? one : other;
}

static u64 random_number(void)
{
    static u64 state;
    while (!state)
        call(__NR_getrandom, AS_LONG(&state), sizeof state, 0, 0, 0, 0);
    state ^= state >> 12; /* xorshift64*, Vigna 2016 */
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717ul;
}

static struct {
    u64 in, out, jitter, lost, rate;
} course;

static struct waiting {
    u64 goes;
    u32 number;
} waiting[MOST_WAITING]; /* a heap: none goes before its parent at (i - 1) / 2 */
static u32 waiting_count;
static u64 free_at[2]; /* of a link with a bandwidth, by the way */

static int earlier(const struct waiting *one, const struct waiting *other)
{
    return one->goes != other->goes ? one->goes < other->goes : (int)(one->number - other->number) < 0;
}

static void keep(struct waiting entry)
{
    u32 i = waiting_count++;
    for (; i && earlier(&entry, &waiting[(i - 1) / 2]); i = (i - 1) / 2)
        waiting[i] = waiting[(i - 1) / 2];
    waiting[i] = entry;
}

static u32 take_first(void)
{
    u32 number = waiting[0].number, i = 0, child;
    struct waiting last = waiting[--waiting_count];
    for (; (child = 2 * i + 1) < waiting_count; i = child) {
        if (child + 1 < waiting_count && earlier(&waiting[child + 1], &waiting[child]))
            child++;
        if (!earlier(&waiting[child], &last))
            break;
        waiting[i] = waiting[child];
    }
    waiting[i] = last;
    return number;
}

static void decide(u32 number, u32 verdict)
{
    struct nfqnl_msg_verdict_hdr header = {swapped(verdict), swapped(number)};
    begin_netfilter(NFNL_SUBSYS_QUEUE, NFQNL_MSG_VERDICT, 0, 0, queue_number);
    put_attribute(NFQA_VERDICT_HDR, &header, sizeof header);
    send_all(queue_socket);
}

/* When a packet goes on; 0: it is lost. */
static u64 schedule(u64 size, int leaves, u64 now)
{
    u64 goes = now;
    if (course.lost && random_number() % 1000000000u < course.lost)
        return 0;
    if (course.rate) {
        u64 begins = now > free_at[leaves] ? now : free_at[leaves];
        if (begins - now > LONGEST_BACKLOG_NS)
            return 0;
        goes = free_at[leaves] = begins + least(size, MOST_PACKET_BYTES) * 8 * NS_PER_S / course.rate;
    }
    u64 delay = leaves ? course.out : course.in;
    if (course.jitter) {
        u64 from = delay - least(delay, course.jitter);
        delay = from + random_number() % (delay + course.jitter - from + 1);
    }
    return goes + delay;
}

static void take_packet(const struct nlmsghdr *message)
{
    const struct nlattr *header = attribute(message, NFQA_PACKET_HDR), *whole = attribute(message, NFQA_CAP_LEN);
    const struct nlattr *payload = attribute(message, NFQA_PAYLOAD);
    if (message->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) || !header)
        return;
    const struct nfqnl_msg_packet_hdr *packet = (const struct nfqnl_msg_packet_hdr *)(header + 1);
    u64 size = whole ? swapped(*(const u32 *)(whole + 1)) : payload ? payload->nla_len - sizeof *payload : 0;
    struct waiting entry = {schedule(size, packet->hook == LOCAL_OUT, now_ns()), swapped(packet->packet_id)};
    if (!entry.goes || waiting_count == MOST_WAITING)
        decide(entry.number, DROP);
    else
        keep(entry);
}

/* Every packet that has arrived by now. What did not fit into the socket's buffer the kernel has dropped. */
static void take_packets(void)
{
    long size;
    for (;;) {
        size = call(__NR_recvfrom, queue_socket, AS_LONG(received), sizeof received, MSG_DONTWAIT_, 0, 0);
        if (size == -EINTR_ || size == -ENOBUFS_)
            continue;
        if (size <= 0)
            return;
        struct nlmsghdr *message;
        for (long at = 0; (message = message_at(at, size)); at = after(at, message))
            take_packet(message);
    }
}

static void let_go(u64 until)
{
    while (waiting_count && waiting[0].goes <= until)
        decide(take_first(), ACCEPT);
}

static long configure(u32 type, const void *value, u32 size)
{
    u32 at;
    begin_netfilter(NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG, NLM_F_ACK, 0, queue_number);
    put_attribute(type, value, size);
    return request(queue_socket, &at);
}

/* A queue with a number that nobody has in this namespace, which is in the name of the tables, too. */
static long open_queue(void)
{
    struct nfqnl_msg_config_cmd bind = {.command = NFQNL_CFG_CMD_BIND};
    struct nfqnl_msg_config_params params = {swapped(COPIED), NFQNL_COPY_PACKET};
    u32 most = swapped(MOST_WAITING);
    int buffer = WANTED_BUFFER, yes = 1;
    long error = -BUSY;
    for (u32 tries = 0; (error == -BUSY || error == -NOT_PERMITTED) && tries < QUEUE_TRIES; tries++) {
        queue_number = 1 + (u32)(random_number() % 65535);
        error = configure(NFQA_CFG_CMD, &bind, sizeof bind);
    }
    if (error || (error = configure(NFQA_CFG_PARAMS, &params, sizeof params)) ||
        (error = configure(NFQA_CFG_QUEUE_MAXLEN, &most, sizeof most)))
        return error;
    u32 size = 0;
    while (table[size])
        size++;
    table[size + digits(table + size, queue_number)] = 0;
    if (call(__NR_setsockopt, queue_socket, SOL_SOCKET_, SO_RCVBUFFORCE_, AS_LONG(&buffer), sizeof buffer, 0))
        call(__NR_setsockopt, queue_socket, SOL_SOCKET_, SO_RCVBUF_, AS_LONG(&buffer), sizeof buffer, 0);
    return call(__NR_setsockopt, queue_socket, SOL_NETLINK_, NETLINK_NO_ENOBUFS, AS_LONG(&yes), sizeof yes, 0);
}
