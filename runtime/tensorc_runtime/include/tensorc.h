/* The C interface of functions that tensorc compiles.
 *
 * A function NAME is exported as three C symbols. None of them allocates, prints, keeps state or
 * needs Python; all may be called from several threads at once with different arguments.
 *
 *   int32_t NAME(DLTensor *const *args, void *workspace, int64_t workspace_bytes,
 *                int32_t num_threads, int64_t *error_info);
 *
 *     Checks every argument, then runs. `args` points to one DLTensor for each parameter, in the
 *     order that NAME.h lists: inputs, outputs and state alike. Data must lie in CPU memory, be
 *     aligned to its element size, and be compact and row-major (`strides` is NULL or says so;
 *     the stride of a dimension of size 1 does not matter). What the function writes must not
 *     overlap any other argument. Nothing has been written when a code from 1 to 9 or 11 comes
 *     back; see TENSORC_CHECK_FAILED for 10.
 *
 *   int64_t NAME_workspace(const int64_t *dims, int32_t num_threads);
 *
 *     The bytes of scratch memory that a call with these symbolic sizes needs, 0 for none. `dims`
 *     holds the sizes in the order that NAME.h lists, and may be NULL where there are none. The
 *     result never grows when `num_threads` falls.
 *
 *   int32_t NAME_run(void *const *data, const int64_t *dims, void *workspace,
 *                    int32_t num_threads, int64_t *error_info);
 *
 *     The same without checks: `data` holds the address of each argument's first element. Only
 *     TENSORC_CHECK_FAILED can come back.
 *
 * The workspace must be aligned to 64 bytes; its contents on entry do not matter and mean nothing
 * afterwards. It may be NULL where 0 bytes are needed. Calls that run at the same time need one
 * workspace each.
 *
 * `num_threads` is the number of threads to use: 1 runs in the calling thread alone and starts no
 * other. More need an OpenMP runtime in the process (GOMP_parallel, a weak symbol: libgomp, or
 * LLVM's or Intel's libomp); where there is none a call runs serially, with the same result.
 *
 * `error_info` is NULL or points to four int64_t that say more when the result is not 0:
 *   code 10:     [0] index of the check, as NAME.h lists them, [1] to [3] the values it shows
 *   all others:  [0] index of the argument, [1] its dimension, [2] what was got, [3] expected
 */
#ifndef TENSORC_H_
#define TENSORC_H_

#include <stdint.h>

/* The version of this interface; a manifest states it as "abi". */
#define TENSORC_ABI_VERSION 1

/* DLPack's tensor, as in dlpack.h. A program that needs more of DLPack includes dlpack.h first. */
#if !defined(DLPACK_DLPACK_H_) && !defined(DLPACK_VERSION) && !defined(DLPACK_MAJOR_VERSION)
#define DLPACK_DLPACK_H_
#ifdef __cplusplus
extern "C" {
typedef enum : int32_t {
#else
typedef enum {
#endif
  kDLCPU = 1,
  kDLCUDA = 2,
  kDLCUDAHost = 3
} DLDeviceType;

typedef struct {
  DLDeviceType device_type;
  int32_t device_id;
} DLDevice;

typedef enum {
  kDLInt = 0U,
  kDLUInt = 1U,
  kDLFloat = 2U,
  kDLOpaqueHandle = 3U,
  kDLBfloat = 4U,
  kDLComplex = 5U,
  kDLBool = 6U
} DLDataTypeCode;

typedef struct {
  uint8_t code;   /* a DLDataTypeCode */
  uint8_t bits;   /* 8 for a bool */
  uint16_t lanes; /* 1 */
} DLDataType;

typedef struct {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape;
  int64_t *strides;     /* in elements; NULL: compact and row-major */
  uint64_t byte_offset; /* of the first element from `data` */
} DLTensor;
#ifdef __cplusplus
}
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  TENSORC_OK = 0,
  TENSORC_NULL_ARGUMENT = 1, /* args, one of them, its shape, or its data is NULL */
  TENSORC_DEVICE = 2,        /* the data is not in CPU memory */
  TENSORC_NDIM = 3,          /* wrong number of dimensions */
  TENSORC_DTYPE = 4,         /* wrong type; got and expected are code + 256 * bits + 65536 * lanes */
  TENSORC_SHAPE = 5,         /* wrong size of one dimension */
  TENSORC_STRIDES = 6,       /* not compact and row-major */
  TENSORC_ALIGNMENT = 7,     /* the data is not aligned to its element size */
  TENSORC_WORKSPACE = 8,     /* the workspace is NULL, too small, or not aligned to 64 bytes */
  TENSORC_OVERLAP = 9,       /* it is written, and overlaps another argument */
  TENSORC_CHECK_FAILED = 10, /* a value is outside what the program allows; checks of inputs run
                                before anything is written, others where the program has them */
  TENSORC_DIM_TOO_SMALL = 11 /* a symbolic size is below its declared lower bound */
} tensorc_status;

static inline const char *tensorc_error_name(int32_t code) {
  switch (code) {
  case TENSORC_OK:
    return "ok";
  case TENSORC_NULL_ARGUMENT:
    return "null argument";
  case TENSORC_DEVICE:
    return "argument is not in CPU memory";
  case TENSORC_NDIM:
    return "wrong number of dimensions";
  case TENSORC_DTYPE:
    return "wrong dtype";
  case TENSORC_SHAPE:
    return "wrong size of a dimension";
  case TENSORC_STRIDES:
    return "not compact and row-major";
  case TENSORC_ALIGNMENT:
    return "misaligned data";
  case TENSORC_WORKSPACE:
    return "workspace is null, too small or misaligned";
  case TENSORC_OVERLAP:
    return "a written argument overlaps another";
  case TENSORC_CHECK_FAILED:
    return "a check on values failed";
  case TENSORC_DIM_TOO_SMALL:
    return "a symbolic size is below its lower bound";
  default:
    return "unknown error";
  }
}

#ifdef __cplusplus
}
#endif
#endif
