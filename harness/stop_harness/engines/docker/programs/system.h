/*
 * What our programs take from the kernel without a C library: system calls, text out of a buffer, commands of a line.
 */

#pragma once

#include <asm/unistd.h>

typedef unsigned char byte;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

enum {
    PF_EXITING = 4, /* <linux/sched.h> of the kernel, flags in /proc/PID/stat */
    AF_NETLINK_ = 16, SOCK_DGRAM_ = 2, SOL_SOCKET_ = 1, SO_RCVBUF_ = 8, SO_RCVBUFFORCE_ = 33, MSG_DONTWAIT_ = 0x40,
    POLLIN_ = 1, AT_FDCWD_ = -100, CLOCK_MONOTONIC_ = 1,
    EINTR_ = 4, EAGAIN_ = 11, ENOBUFS_ = 105, ETIMEDOUT_ = 110,
};

/* ── System calls ─────────────────────────────────────────────────────────────────────────────────────────────────── */

#if defined(__x86_64__)
static long call(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
/* The kernel starts a program with an aligned stack, a C function expects one after a call. */
__asm__(".globl _start\n_start: xor %ebp, %ebp\n andq $-16, %rsp\n call begin\n hlt\n");
#elif defined(__aarch64__)
static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}
__asm__(".globl _start\n_start: mov x29, #0\n mov x30, #0\n bl begin\n brk #1\n");
#else
#error "only x86-64 and arm64"
#endif

#define AS_LONG(x) ((long)(x))

static void leave(int code)
{
    for (;;)
        call(__NR_exit_group, code, 0, 0, 0, 0, 0);
}

static u64 now_ns(void)
{
    long time[2];
    call(__NR_clock_gettime, CLOCK_MONOTONIC_, AS_LONG(time), 0, 0, 0, 0);
    return (u64)time[0] * 1000000000u + (u64)time[1];
}

/* The compiler may call these two, whatever it is told. */
void *memset(void *to, int value, u64 size)
{
    for (u64 i = 0; i < size; i++)
        ((volatile byte *)to)[i] = (byte)value;
    return to;
}

void *memcpy(void *to, const void *from, u64 size)
{
    for (u64 i = 0; i < size; i++)
        ((volatile byte *)to)[i] = ((const byte *)from)[i];
    return to;
}

/* ── Text ─────────────────────────────────────────────────────────────────────────────────────────────────────────── */

static char out[32768];
static u32 out_size;

/* Blocks while nobody reads; meanwhile the kernel keeps events, and says so when it has to drop some. */
static void flush(void)
{
    u32 done = 0;
    while (done < out_size) {
        long wrote = call(__NR_write, 1, AS_LONG(out + done), out_size - done, 0, 0, 0);
        if (wrote == -EINTR_)
            continue;
        if (wrote <= 0)
            leave(1);
        done += (u32)wrote;
    }
    out_size = 0;
}

static void put_char(char letter)
{
    if (out_size == sizeof out)
        flush();
    out[out_size++] = letter;
}

static void put_text(const char *text)
{
    while (*text)
        put_char(*text++);
}

static u32 digits(char *to, u64 number)
{
    char reversed[20];
    u32 size = 0;
    do
        reversed[size++] = (char)('0' + number % 10);
    while (number /= 10);
    for (u32 i = 0; i < size; i++)
        to[i] = reversed[size - 1 - i];
    return size;
}

static void put_number(u64 number)
{
    char text[20];
    u32 size = digits(text, number);
    put_char(' ');
    for (u32 i = 0; i < size; i++)
        put_char(text[i]);
}

static int is_digit(char letter)
{
    return letter >= '0' && letter <= '9';
}

static u64 take_number(const char **text)
{
    u64 number = 0;
    while (**text == ' ' || **text == '\t')
        ++*text;
    while (is_digit(**text))
        number = number * 10 + (u64)(*(*text)++ - '0');
    return number;
}

/* ── Commands ─────────────────────────────────────────────────────────────────────────────────────────────────────── */

struct poll_entry {
    int file;
    u16 wanted, got;
};

static int wait_for(struct poll_entry *entries, u32 count, const long *patience)
{
    return (int)call(__NR_ppoll, AS_LONG(entries), count, AS_LONG(patience), 0, 0, 0);
}

/* One command, a line without its end. */
static void obey(const char *line);

/* Standard input has ended: nobody wants anything any more. */
static void end(void);

static char in[4096];
static u32 in_size;

static void take_input(void)
{
    long got = call(__NR_read, 0, AS_LONG(in + in_size), sizeof in - in_size, 0, 0, 0);
    if (got == -EINTR_ || got == -EAGAIN_)
        return;
    if (got <= 0)
        end();
    in_size += (u32)got;
    u32 begin = 0;
    for (u32 i = 0; i < in_size; i++)
        if (in[i] == '\n') {
            in[i] = 0;
            obey(in + begin);
            begin = i + 1;
        }
    if (!begin && in_size == sizeof in)
        leave(2); /* no command is that long */
    for (u32 i = begin; i < in_size; i++)
        in[i - begin] = in[i];
    in_size -= begin;
}
