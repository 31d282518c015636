/* Tells libFuzzer which parts of the extensions an input reached.
 *
 * GCC's -fsanitize-coverage=trace-pc calls the function below on every edge; libFuzzer itself understands only what
 * Clang emits, so the calls are turned into its counters here. Preloaded by `make fuzz`; registered by fuzz.py.
 */
#include <stdint.h>

#define COUNTERS (1 << 16)

uint8_t relo_counters[COUNTERS];
uintptr_t relo_pcs[COUNTERS][2]; /* address and flags, one for each counter, as libFuzzer wants them */

void __sanitizer_cov_trace_pc(void) {
    uintptr_t pc = (uintptr_t)__builtin_return_address(0);
    uint8_t *counter = &relo_counters[(pc * 0x9E3779B97F4A7C15u) >> 48];
    if (*counter != 255)
        ++*counter;
}
