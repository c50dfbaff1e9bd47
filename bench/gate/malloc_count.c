/* Counts the blocks that the C allocator hands out and takes back. Preloaded into a Python that runs with
   PYTHONMALLOC=malloc, it sees every memory block of the interpreter; Python reads the counts through ctypes. */
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

static long long taken, live;

long long gate_blocks_taken(void) { return taken; }
long long gate_blocks_live(void) { return live; }

void *malloc(size_t size) {
    taken++;
    live++;
    return __libc_malloc(size);
}

void *calloc(size_t items, size_t size) {
    taken++;
    live++;
    return __libc_calloc(items, size);
}

void *realloc(void *block, size_t size) {
    taken++;
    if (block == NULL)
        live++;
    return __libc_realloc(block, size);
}

void free(void *block) {
    if (block != NULL)
        live--;
    __libc_free(block);
}
