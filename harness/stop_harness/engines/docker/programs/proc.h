/*
 * What the witness reads of processes below /proc.
 */

#pragma once

#include "system.h"

/* The place after `word` where a line of `text` begins with it; null where none does. */
static const char *line_of(const char *text, const char *word)
{
    for (int begins = 1; *text; begins = *text++ == '\n') {
        u32 i = 0;
        while (begins && word[i] && text[i] == word[i])
            i++;
        if (begins && !word[i])
            return text + i;
    }
    return 0;
}

static int contains(const char *text, const char *word)
{
    for (; *text; text++) {
        u32 i = 0;
        while (word[i] && text[i] == word[i])
            i++;
        if (!word[i])
            return 1;
    }
    return 0;
}

/* ── /proc ────────────────────────────────────────────────────────────────────────────────────────────────────────── */

static long open_below(u32 pid, const char *middle, u32 thread, const char *end)
{
    char path[96] = "/proc/";
    u32 size = 6;
    size += digits(path + size, pid);
    while (*middle)
        path[size++] = *middle++;
    if (thread)
        size += digits(path + size, thread);
    while (*end)
        path[size++] = *end++;
    path[size] = 0;
    return call(__NR_openat, AT_FDCWD_, AS_LONG(path), 0, 0, 0, 0);
}

/* Reads all that fits; the text is ended by a zero. The size, or 0 where there is nothing to be read. */
static u32 read_all(long file, char *to, u32 space)
{
    u32 size = 0;
    long got = 1;
    if (file >= 0) {
        while (size + 1 < space && (got = call(__NR_read, file, AS_LONG(to + size), space - 1 - size, 0, 0, 0)) > 0)
            size += (u32)got;
        call(__NR_close, file, 0, 0, 0, 0, 0);
    }
    to[size] = 0;
    return size;
}

static char status[8192];

/* Whether the process lives; its /proc/PID/status is then at hand. */
static int read_status(u32 pid)
{
    if (!read_all(open_below(pid, "/status", 0, ""), status, sizeof status))
        return 0;
    const char *state = line_of(status, "State:\t");
    return state && *state != 'Z' && *state != 'X' && line_of(status, "Threads:\t") && line_of(status, "NSpid:\t");
}

/* THREADS NSPIDS NAME of the status at hand. */
static void put_status(void)
{
    const char *threads = line_of(status, "Threads:\t"), *pids = line_of(status, "NSpid:\t");
    const char *name = line_of(status, "Name:\t");
    put_number(take_number(&threads));
    for (char before = ' '; is_digit(*pids); before = ',') {
        put_char(before);
        for (; is_digit(*pids); pids++)
            put_char(*pids);
        while (*pids == '\t' || *pids == ' ')
            pids++;
    }
    put_char(' ');
    for (; name && *name && *name != '\n'; name++)
        put_char(*name);
    put_char('\n');
}

static int is_leaving(u32 pid)
{
    char text[1024];
    const char *place = text;
    if (!read_all(open_below(pid, "/stat", 0, ""), text, sizeof text))
        return 1;
    for (const char *letter = text; *letter; letter++)
        if (*letter == ')')
            place = letter;
    for (u32 blanks = 0; *place && blanks < 7; place++) /* state, parent, group, session, terminal, its group, flags */
        blanks += *place == ' ';
    return (take_number(&place) & PF_EXITING) != 0;
}
