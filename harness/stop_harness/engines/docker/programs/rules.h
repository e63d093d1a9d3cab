/*
 * Rules of nf_tables of `packets`, in tables of its own, that put packets into its queue.
 */

#pragma once

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_NFQUEUE.h>

#include "netlink.h"

enum {
    LOCAL_IN = 1, LOCAL_OUT = 3, /* NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT */
    ACCEPT = 1, DROP = 0,        /* NF_ACCEPT, NF_DROP */
    LOOPBACK_INDEX = 1,          /* of its device, in every network namespace */
    MOST_RULES = 128,            /* `sent` holds so many of the longest */
};

static long rules_socket; /* NETLINK_NETFILTER */
static u32 queue_number;

static int same_text(const char *one, const char *other)
{
    while (*one && *one == *other)
        one++, other++;
    return *one == *other;
}

struct rule {
    u32 queued, leaves, loopback, protocol, end, port, side, address, bits;
};

static struct rule rules[MOST_RULES];
static u32 rule_count;
static int too_many_rules;
static char table[32] = "stop-harness-";
/* What this kernel has not got: tables that end with their owner (5.12), and the `queue` of nf_tables itself. Then the
 * rules stay until they are removed, and the target of iptables is used in its place. */
static int without_owner, by_target;

static struct nlattr *begin_expression(const char *name, struct nlattr **outer)
{
    *outer = nest(NFTA_LIST_ELEM);
    put_word(NFTA_EXPR_NAME, name);
    return nest(NFTA_EXPR_DATA);
}

static void end_expression(struct nlattr *inner, struct nlattr *outer)
{
    nested(inner);
    nested(outer);
}

static void put_value(u32 type, const void *value, u32 size)
{
    struct nlattr *data = nest(type);
    put_attribute(NFTA_DATA_VALUE, value, size);
    nested(data);
}

static void load_meta(u32 key)
{
    struct nlattr *outer, *inner = begin_expression("meta", &outer);
    put_big_endian(NFTA_META_DREG, NFT_REG_1);
    put_big_endian(NFTA_META_KEY, key);
    end_expression(inner, outer);
}

static void load_bytes(u32 base, u32 offset, u32 size)
{
    struct nlattr *outer, *inner = begin_expression("payload", &outer);
    put_big_endian(NFTA_PAYLOAD_DREG, NFT_REG_1);
    put_big_endian(NFTA_PAYLOAD_BASE, base);
    put_big_endian(NFTA_PAYLOAD_OFFSET, offset);
    put_big_endian(NFTA_PAYLOAD_LEN, size);
    end_expression(inner, outer);
}

static void mask(u32 value)
{
    u32 nothing = 0;
    struct nlattr *outer, *inner = begin_expression("bitwise", &outer);
    put_big_endian(NFTA_BITWISE_SREG, NFT_REG_1);
    put_big_endian(NFTA_BITWISE_DREG, NFT_REG_1);
    put_big_endian(NFTA_BITWISE_LEN, sizeof value);
    put_value(NFTA_BITWISE_MASK, &value, sizeof value);
    put_value(NFTA_BITWISE_XOR, &nothing, sizeof nothing);
    end_expression(inner, outer);
}

static void compare(u32 operation, const void *value, u32 size)
{
    struct nlattr *outer, *inner = begin_expression("cmp", &outer);
    put_big_endian(NFTA_CMP_SREG, NFT_REG_1);
    put_big_endian(NFTA_CMP_OP, operation);
    put_value(NFTA_CMP_DATA, value, size);
    end_expression(inner, outer);
}

static void pass(void)
{
    struct nlattr *outer, *inner = begin_expression("immediate", &outer);
    put_big_endian(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    struct nlattr *data = nest(NFTA_IMMEDIATE_DATA), *verdict = nest(NFTA_DATA_VERDICT);
    put_big_endian(NFTA_VERDICT_CODE, ACCEPT);
    nested(verdict);
    nested(data);
    end_expression(inner, outer);
}

static void queue(void)
{
    struct nlattr *outer, *inner = begin_expression(by_target ? "target" : "queue", &outer);
    if (by_target) {
        struct {
            struct xt_NFQ_info_v3 info;
            byte padding[-sizeof(struct xt_NFQ_info_v3) & 7]; /* XT_ALIGN */
        } target = {.info = {.queuenum = (u16)queue_number, .queues_total = 1, .flags = NFQ_FLAG_BYPASS}};
        put_word(NFTA_TARGET_NAME, "NFQUEUE");
        put_big_endian(NFTA_TARGET_REV, 3);
        put_attribute(NFTA_TARGET_INFO, &target, sizeof target);
    } else {
        put_big_endian_short(NFTA_QUEUE_NUM, queue_number);
        put_big_endian_short(NFTA_QUEUE_TOTAL, 1);
        put_big_endian_short(NFTA_QUEUE_FLAGS, NFT_QUEUE_FLAG_BYPASS);
    }
    end_expression(inner, outer);
}

static void put_rule(u32 family, const struct rule *rule)
{
    begin_netfilter(NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, family, 0);
    put_word(NFTA_RULE_TABLE, table);
    put_word(NFTA_RULE_CHAIN, rule->leaves ? "out" : "in");
    struct nlattr *expressions = nest(NFTA_RULE_EXPRESSIONS);
    if (!rule->loopback) {
        u32 loopback = LOOPBACK_INDEX;
        load_meta(rule->leaves ? NFT_META_OIF : NFT_META_IIF);
        compare(NFT_CMP_NEQ, &loopback, sizeof loopback);
    }
    if (rule->side) { /* where the source and the destination stand in a header of IPv4 */
        u32 bits = rule->bits ? swapped(0xffffffffu << (32 - rule->bits)) : 0, address = swapped(rule->address) & bits;
        load_bytes(NFT_PAYLOAD_NETWORK_HEADER, rule->side == 1 ? 12 : 16, sizeof address);
        mask(bits);
        compare(NFT_CMP_EQ, &address, sizeof address);
    }
    if (rule->protocol) {
        byte protocol = (byte)rule->protocol;
        load_meta(NFT_META_L4PROTO);
        compare(NFT_CMP_EQ, &protocol, sizeof protocol);
    }
    if (rule->end) { /* of TCP and UDP alike */
        u16 port = swapped_short(rule->port);
        load_bytes(NFT_PAYLOAD_TRANSPORT_HEADER, rule->end == 1 ? 0 : 2, sizeof port);
        compare(NFT_CMP_EQ, &port, sizeof port);
    }
    if (rule->queued)
        queue();
    else
        pass();
    nested(expressions);
}

static void begin_batch(void)
{
    begin_netfilter(0, NFNL_MSG_BATCH_BEGIN, 0, 0, NFNL_SUBSYS_NFTABLES);
}

static void end_batch(void)
{
    struct nlmsghdr *last = begun; /* whose acknowledgement is waited for; of the others only errors are told */
    last->nlmsg_flags |= NLM_F_ACK;
    begin_netfilter(0, NFNL_MSG_BATCH_END, 0, 0, NFNL_SUBSYS_NFTABLES);
    begun = last;
}

static void put_table(u32 family)
{
    begin_netfilter(NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, family, 0);
    put_word(NFTA_TABLE_NAME, table);
    put_big_endian(NFTA_TABLE_FLAGS, without_owner ? 0 : NFT_TABLE_F_OWNER);
}

static void put_chain(u32 family, const char *name, u32 hook)
{
    begin_netfilter(NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL, family, 0);
    put_word(NFTA_CHAIN_TABLE, table);
    put_word(NFTA_CHAIN_NAME, name);
    put_word(NFTA_CHAIN_TYPE, "filter");
    struct nlattr *place = nest(NFTA_CHAIN_HOOK);
    put_big_endian(NFTA_HOOK_HOOKNUM, hook);
    put_big_endian(NFTA_HOOK_PRIORITY, 0);
    nested(place);
}

static int of_family(const struct rule *rule, u32 family)
{
    return family == INET || !rule->side;
}

/* All of it, or nothing. */
static long try_rules(void)
{
    static const char *steps[2 * 3 + 2 * MOST_RULES + 1];
    u32 step = 0, at;
    begin_batch();
    steps[step++] = "batch";
    for (u32 i = 0; i < family_count; i++) {
        put_table(families[i]);
        steps[step++] = "table";
        put_chain(families[i], "in", LOCAL_IN);
        put_chain(families[i], "out", LOCAL_OUT);
        steps[step++] = "chain";
        steps[step++] = "chain";
        for (u32 rule = 0; rule < rule_count; rule++)
            if (of_family(&rules[rule], families[i])) {
                put_rule(families[i], &rules[rule]);
                steps[step++] = "rule";
            }
    }
    end_batch();
    long error = request(rules_socket, &at);
    failed_step = steps[at < step ? at : 0];
    return error;
}

static u32 counted;

static void count_rule(const struct nlmsghdr *message)
{
    const struct nlattr *name = attribute(message, NFTA_RULE_TABLE);
    counted += name && same_text((const char *)(name + 1), table);
}

/* How many rules of ours the kernel has, by its own list; or an error. */
static long count_rules(void)
{
    counted = 0;
    failed_step = "list of rules";
    for (u32 i = 0; i < family_count; i++) {
        begin_netfilter(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETRULE, NLM_F_DUMP, families[i], 0);
        put_word(NFTA_RULE_TABLE, table);
        long error = list(rules_socket, count_rule);
        if (error && error != -NO_ENTRY)
            return error;
    }
    return counted;
}

/* Either every rule of ours, while the chains stay: with those the kernel would drop what waits in any queue of this
 * namespace. Or the tables with all that is in them. */
static long remove_of(u32 what, u32 name)
{
    u32 at;
    begin_batch();
    for (u32 i = 0; i < family_count; i++) {
        begin_netfilter(NFNL_SUBSYS_NFTABLES, what, 0, families[i], 0);
        put_word(name, table);
    }
    end_batch();
    failed_step = what == NFT_MSG_DELTABLE ? "removal of tables" : "removal of rules";
    return request(rules_socket, &at);
}
