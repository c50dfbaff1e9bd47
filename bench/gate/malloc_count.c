/* Counts the blocks that the C allocator hands out and takes back. Preloaded into a Python that runs with
   PYTHONMALLOC=malloc, it sees every memory block of the interpreter; Python reads the counts through ctypes.

   It also counts the blocks of each function, with gate_frame in place of the interpreter's function that runs a frame
   (PEP 523). Functions for profiles and callbacks of sys.monitoring would take blocks themselves. */
#include <errno.h>
#include <stddef.h>

#define FUNCTIONS 65536

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static long long taken, live;

void *gate_function_codes[FUNCTIONS];
long long gate_function_blocks[FUNCTIONS + 1];
/* The running function of each thread; the last number stands for what is no part of the step. The model of a library
   that is preloaded takes no block for a new thread. */
static _Thread_local int function __attribute__((tls_model("initial-exec"))) = FUNCTIONS;

/* A step may compile functions without end. Half of the table stays free, so that a search ends soon; the blocks of
   further functions count as those of their callers. */
static int functions;

long long gate_blocks_taken(void) { return taken; }
long long gate_blocks_live(void) { return live; }

/* Weak, because a step may start other programs. The first gives a reference, which is kept for the table, so that the
   address remains that of this function. */
extern void *PyUnstable_InterpreterFrame_GetCode(void *frame) __attribute__((weak));
extern void Py_IncRef(void *object) __attribute__((weak));
extern void Py_DecRef(void *object) __attribute__((weak));
extern void *_PyEval_EvalFrameDefault(void *thread, void *frame, int raises) __attribute__((weak));

static void *code_of(void *frame) {
    if (PyUnstable_InterpreterFrame_GetCode != NULL)
        return PyUnstable_InterpreterFrame_GetCode(frame);
    void *code = ((void **)frame)[4]; /* _PyInterpreterFrame.f_code of Python 3.11, which lacks the function */
    Py_IncRef(code);
    return code;
}

void *gate_frame(void *thread, void *frame, int raises) {
    void *code = code_of(frame);
    size_t at = ((size_t)code >> 4) % FUNCTIONS;
    while (gate_function_codes[at] != NULL && gate_function_codes[at] != code)
        at = (at + 1) % FUNCTIONS;
    if (gate_function_codes[at] == NULL && functions < FUNCTIONS / 2) {
        functions++;
        gate_function_codes[at] = code;
    } else {
        Py_DecRef(code);
        if (gate_function_codes[at] == NULL)
            return _PyEval_EvalFrameDefault(thread, frame, raises);
    }
    int caller = function;
    function = (int)at;
    void *result = _PyEval_EvalFrameDefault(thread, frame, raises);
    function = caller;
    return result;
}

static void take(void) {
    taken++;
    gate_function_blocks[function]++;
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
