"""Names that an exported C function may have."""

from __future__ import annotations

import re

# Names that a C declaration cannot have, that would end a C program's start-up, or that compiled
# code calls itself.
_WORDS = """
auto bool break case char const constexpr continue default do double else enum extern false float
for goto if inline int long main nullptr register restrict return short signed sizeof static struct
switch thread_local true typedef typeof union unsigned void volatile while alignas alignof asm catch
class delete explicit export friend mutable namespace new operator private protected public
static_assert template this throw try using virtual
memcpy memmove memset GOMP_barrier GOMP_parallel omp_get_num_threads omp_get_thread_num
"""
# Functions of the C library, and of POSIX where the word is a plain one. Those of <math.h> have
# variants that end in f and l.
_MATH = """
acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim
floor fma fmax fmin fmod frexp hypot ilogb j0 j1 jn ldexp lgamma llrint llround log log10 log1p log2
logb lrint lround modf nan nearbyint nextafter pow remainder remquo rint round scalbln scalbn sin
sinh sqrt tan tanh tgamma trunc y0 y1 yn
"""
_LIBRARY = """
abort abs accept access alarm atexit atof atoi atol bind bsearch calloc clock close connect div dup
exit fclose feof fflush fgetc fgets fopen fork fprintf fputs fread free fscanf fseek ftell fwrite
gamma getc getchar getenv gets index ioctl isalnum isalpha isdigit islower isspace isupper kill labs
link listen localtime longjmp malloc memchr memcmp mktime mmap open pause perror pipe poll printf
putc puts qsort raise rand random read realloc recv remove rename rewind rindex scanf select send
setjmp shutdown signal sleep snprintf socket sprintf srand sscanf stat strcat strchr strcmp strcpy
strlen strncmp strncpy strstr strtod strtol sync system time times tolower toupper truncate unlink
wait write
"""
_RESERVED = frozenset(_WORDS.split())
_TAKEN = frozenset(_LIBRARY.split()) | {f"{n}{v}" for n in _MATH.split() for v in ("", "f", "l")}


def is_c_name(name: object) -> bool:
    """Whether a C function can be called `name`."""
    fits = isinstance(name, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None
    return fits and name not in _RESERVED


def is_of_the_c_library(name: str) -> bool:
    """Whether the C library has a function `name`: an exported one would take its place."""
    return name in _TAKEN
