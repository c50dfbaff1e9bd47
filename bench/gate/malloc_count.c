/* Counts the blocks that the C allocator hands out and takes back. Preloaded into a Python that runs with
   PYTHONMALLOC=malloc, it sees every memory block of the interpreter; Python reads the counts through ctypes.

   It also counts the blocks of each function. From Python 3.12 callbacks of sys.monitoring set gate_function. Python 3.11
   has gate_profile as its profile function (PyEval_SetProfile), because one in Python would take blocks itself. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define FUNCTIONS 65536
#define DEPTH 65536
#define PY_TRACE_CALL 0
#define PY_TRACE_RETURN 3

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static long long taken, live;

void *gate_function_codes[FUNCTIONS + 1];
long long gate_function_blocks[FUNCTIONS + 1];
int gate_function = FUNCTIONS; /* the running one; the last stands for what is no part of the step */
static int callers[DEPTH], depth;
static long long blocks_of_a_call;
static void *(*code_of)(void *);

long long gate_blocks_taken(void) { return taken; }
long long gate_blocks_live(void) { return live; }

void gate_begin(void *(*get_code)(void *), long long of_a_call) {
    memset(gate_function_blocks, 0, sizeof gate_function_blocks);
    code_of = get_code;
    blocks_of_a_call = of_a_call;
    depth = 0;
    gate_function = FUNCTIONS;
}

int gate_profile(void *unused, void *frame, int event, void *argument) {
    (void)unused, (void)argument;
    if (event == PY_TRACE_CALL && depth < DEPTH) {
        void *code = code_of(frame); /* a reference that is kept, so the address remains that of this function */
        size_t at = ((size_t)code >> 4) % FUNCTIONS;
        while (gate_function_codes[at] != NULL && gate_function_codes[at] != code)
            at = (at + 1) % FUNCTIONS;
        gate_function_codes[at] = code;
        gate_function_blocks[gate_function] -= blocks_of_a_call;
        callers[depth++] = gate_function;
        gate_function = (int)at;
    } else if (event == PY_TRACE_RETURN && depth > 0) {
        gate_function = callers[--depth];
    }
    return 0;
}

static void take(void) {
    taken++;
    gate_function_blocks[gate_function]++;
}

void *malloc(size_t size) {
    take();
    live++;
    return __libc_malloc(size);
}

void *calloc(size_t items, size_t size) {
    take();
    live++;
    return __libc_calloc(items, size);
}

void *realloc(void *block, size_t size) {
    take();
    if (block == NULL)
        live++;
    return __libc_realloc(block, size);
}

/* free() takes aligned blocks too; OpenSSL 3.6 takes some for each HMAC. */
void *memalign(size_t alignment, size_t size) {
    take();
    live++;
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
    void *aligned = memalign(alignment, size);
    if (aligned == NULL)
        return ENOMEM;
    *block = aligned;
    return 0;
}

void free(void *block) {
    if (block != NULL)
        live--;
    __libc_free(block);
}
