/*
 * Connections of a network namespace, which `packets` resets for both of their ends (sock_diag).
 */

#pragma once

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include "netlink.h"

enum {
    TCP = 6,                         /* IPPROTO_TCP */
    ESTABLISHED = 1, CLOSE_WAIT = 8, /* TCP_ESTABLISHED, TCP_CLOSE_WAIT */
    MOST_CONNECTIONS = 16384,
};

static long diagnosis_socket; /* NETLINK_SOCK_DIAG */

static struct inet_diag_req_v2 connections[MOST_CONNECTIONS];
static u32 connection_count, left_count, wanted_port;
static int looks_again;

static int same_connection(const struct inet_diag_sockid *one, const struct inet_diag_sockid *other)
{
    return one->idiag_cookie[0] == other->idiag_cookie[0] && one->idiag_cookie[1] == other->idiag_cookie[1];
}

static int is_loopback(u32 family, const u32 *address)
{
    const byte *first = (const byte *)address;
    if (family == INET)
        return first[0] == 127;
    int mapped = !address[0] && !address[1] && address[2] == swapped(0xffff);
    return mapped ? first[12] == 127 : !address[0] && !address[1] && !address[2] && address[3] == swapped(1);
}

static void take_connection(const struct nlmsghdr *message)
{
    const struct inet_diag_msg *found = (const struct inet_diag_msg *)(message + 1);
    u16 port = swapped_short(wanted_port);
    if (message->nlmsg_len < sizeof *message + sizeof *found || is_loopback(found->idiag_family, found->id.idiag_dst) ||
        (port && found->id.idiag_sport != port && found->id.idiag_dport != port))
        return;
    if (looks_again) {
        for (u32 i = 0; i < connection_count; i++)
            left_count += same_connection(&connections[i].id, &found->id);
        return;
    }
    if (connection_count < MOST_CONNECTIONS)
        connections[connection_count++] = (struct inet_diag_req_v2){
            .sdiag_family = found->idiag_family, .sdiag_protocol = TCP, .idiag_states = ~0u, .id = found->id};
}

static long list_connections(void)
{
    failed_step = "list of connections";
    for (u32 i = 0; i < family_count; i++) {
        struct inet_diag_req_v2 all = {.sdiag_family = (byte)families[i], .sdiag_protocol = TCP,
                                       .idiag_states = 1 << ESTABLISHED | 1 << CLOSE_WAIT};
        begin_message(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP);
        put(&all, sizeof all);
        long error = list(diagnosis_socket, take_connection);
        if (error)
            return error;
    }
    return 0;
}

static long destroy(const struct inet_diag_req_v2 *connection)
{
    u32 at;
    failed_step = "reset";
    begin_message(SOCK_DESTROY, NLM_F_ACK);
    put(connection, sizeof *connection);
    return request(diagnosis_socket, &at);
}

/* How many there were; or an error. */
static long reset(u32 port)
{
    struct inet_diag_req_v2 nobody = {.sdiag_family = INET, .sdiag_protocol = TCP, .idiag_states = ~0u};
    u32 count = 0;
    long error = destroy(&nobody); /* not there, unless the kernel does not do this at all */
    if (error && error != -NO_ENTRY)
        return error;
    wanted_port = port;
    do {
        connection_count = left_count = 0;
        looks_again = 0;
        if ((error = list_connections()))
            return error;
        for (u32 i = 0; i < connection_count; i++) {
            error = destroy(&connections[i]);
            if (error && error != -NO_ENTRY) /* it has ended meanwhile */
                return error;
        }
        count += connection_count;
        looks_again = 1;
        if ((error = list_connections()))
            return error;
        if (left_count) {
            failed_step = "reset";
            return -BUSY;
        }
    } while (connection_count == MOST_CONNECTIONS);
    return count;
}
