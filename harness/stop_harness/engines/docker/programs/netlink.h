/*
 * Netlink messages of `packets`: put together, sent, acknowledged, and lists of them read.
 */

#pragma once

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include "system.h"

enum {
    INET = 2, INET6 = 10, RAW = 3, SOL_NETLINK_ = 270, /* AF_INET, AF_INET6, SOCK_RAW, SOL_NETLINK */
    NO_ENTRY = 2, BUSY = 16, NOT_PERMITTED = 1, TOO_BIG = 7,
    ANSWER_MS = 5000,
};

static u32 families[2] = {INET, INET6}, family_count = 1; /* of IP that this kernel has */
static const char *failed_step = "";

static u32 swapped(u32 number)
{
    return __builtin_bswap32(number);
}

static u16 swapped_short(u32 number)
{
    return __builtin_bswap16((u16)number);
}

static byte sent[131072] __attribute__((aligned(8)));
static u32 sent_size, sequence = 1;
static byte received[65536] __attribute__((aligned(8)));
static struct nlmsghdr *begun;

static void *put(const void *data, u32 size)
{
    byte *place = sent + sent_size;
    memcpy(place, data, size);
    memset(place + size, 0, -size & 3);
    sent_size += (size + 3) & ~3u;
    begun->nlmsg_len = (u32)(sent + sent_size - (byte *)begun);
    return place;
}

static void begin_message(u32 type, u32 flags)
{
    begun = (struct nlmsghdr *)(sent + sent_size);
    flags |= NLM_F_REQUEST;
    struct nlmsghdr header = {.nlmsg_type = (u16)type, .nlmsg_flags = (u16)flags, .nlmsg_seq = sequence++};
    put(&header, sizeof header);
}

static void begin_netfilter(u32 subsystem, u32 type, u32 flags, u32 family, u32 number)
{
    struct nfgenmsg header = {(byte)family, NFNETLINK_V0, swapped_short(number)};
    begin_message(subsystem << 8 | type, flags);
    put(&header, sizeof header);
}

static struct nlattr *put_attribute(u32 type, const void *data, u32 size)
{
    struct nlattr header = {(u16)(sizeof header + size), (u16)type}, *place = put(&header, sizeof header);
    put(data, size);
    return place;
}

static void put_word(u32 type, const char *word)
{
    u32 size = 1;
    while (word[size - 1])
        size++;
    put_attribute(type, word, size);
}

static void put_big_endian(u32 type, u32 number)
{
    number = swapped(number);
    put_attribute(type, &number, sizeof number);
}

static void put_big_endian_short(u32 type, u32 number)
{
    u16 value = swapped_short(number);
    put_attribute(type, &value, sizeof value);
}

static struct nlattr *nest(u32 type)
{
    return put_attribute(type | NLA_F_NESTED, 0, 0);
}

static void nested(struct nlattr *place)
{
    place->nla_len = (u16)(sent + sent_size - (byte *)place);
}

static long send_all(long socket)
{
    long result = call(__NR_sendto, socket, AS_LONG(sent), sent_size, 0, 0, 0);
    sent_size = 0;
    return result < 0 ? result : 0;
}

/* The next datagram; its size, or an error. */
static long receive(long socket)
{
    struct poll_entry entry = {(int)socket, POLLIN_, 0};
    long patience[2] = {ANSWER_MS / 1000, 0}, size;
    do {
        if (wait_for(&entry, 1, patience) == 0)
            return -ETIMEDOUT_;
        size = call(__NR_recvfrom, socket, AS_LONG(received), sizeof received, MSG_DONTWAIT_, 0, 0);
    } while (size == -EINTR_ || size == -EAGAIN_ || size == -ENOBUFS_); /* the first error is there, if not all */
    return size;
}

static struct nlmsghdr *message_at(long at, long size)
{
    struct nlmsghdr *message = (struct nlmsghdr *)(received + at);
    int whole = at + (long)sizeof *message <= size && message->nlmsg_len >= sizeof *message &&
                at + (long)message->nlmsg_len <= size;
    return whole ? message : 0;
}

static long after(long at, const struct nlmsghdr *message)
{
    return at + (long)((message->nlmsg_len + 3) & ~3u);
}

/* Sends what was put, and waits until the last of it was acknowledged: 0, or the first error; `at` is then which. */
static long request(long socket, u32 *at)
{
    u32 first = ((struct nlmsghdr *)sent)->nlmsg_seq, last = begun->nlmsg_seq;
    long size, error = send_all(socket);
    *at = 0;
    while (!error) {
        if ((size = receive(socket)) < 0)
            return size;
        struct nlmsghdr *message;
        for (long place = 0; (message = message_at(place, size)); place = after(place, message)) {
            u32 which = message->nlmsg_seq - first;
            if (message->nlmsg_type != NLMSG_ERROR || which > last - first)
                continue; /* of an earlier request that failed */
            *at = which;
            if ((error = *(int *)(message + 1)) || which == last - first)
                return error;
        }
    }
    return error;
}

/* Sends a request for a list, and calls `each` with every entry of it: 0, or an error. */
static long list(long socket, void (*each)(const struct nlmsghdr *))
{
    u32 asked = begun->nlmsg_seq;
    long size, error = send_all(socket);
    while (!error) {
        if ((size = receive(socket)) < 0)
            return size;
        struct nlmsghdr *message;
        for (long place = 0; (message = message_at(place, size)); place = after(place, message)) {
            if (message->nlmsg_seq != asked)
                continue;
            if (message->nlmsg_type == NLMSG_DONE)
                return 0;
            if (message->nlmsg_type == NLMSG_ERROR)
                return *(int *)(message + 1);
            each(message);
        }
    }
    return error;
}

static const struct nlattr *attribute(const struct nlmsghdr *message, u32 type)
{
    const byte *place = (const byte *)(message + 1) + sizeof(struct nfgenmsg);
    const byte *end = (const byte *)message + message->nlmsg_len;
    while (place + sizeof(struct nlattr) <= end) {
        const struct nlattr *found = (const struct nlattr *)place;
        if (found->nla_len < sizeof *found || place + found->nla_len > end)
            break;
        if ((found->nla_type & NLA_TYPE_MASK) == type)
            return found;
        place += (found->nla_len + 3) & ~3;
    }
    return 0;
}

static long open_socket(u32 protocol)
{
    struct sockaddr_nl own = {.nl_family = AF_NETLINK_};
    int yes = 1;
    long made = call(__NR_socket, AF_NETLINK_, RAW, protocol, 0, 0, 0);
    long error = made < 0 ? made : call(__NR_bind, made, AS_LONG(&own), sizeof own, 0, 0, 0);
    if (!error) /* errors without what they are about; from Linux 4.3 on */
        call(__NR_setsockopt, made, SOL_NETLINK_, NETLINK_CAP_ACK, AS_LONG(&yes), sizeof yes, 0);
    return error < 0 ? error : made;
}
