/* Run an exported training step without Python.
 *
 *   cc -I runtime/tensorc_runtime/include -o train_mlp runtime/hosts/train_mlp.c -ldl
 *   ./train_mlp build/step/libstep.so step run.tensors [threads [result.tensors]]
 *
 * Any exported function will do: its arguments come from a tensor file, all of them in the order
 * that NAME.h lists. `tensorc_runtime.tensor_file` writes such files and describes the format.
 * A stacked tensor has one slice for each step (the batches); the others are there once, and keep
 * from step to step what was written to them (weights, optimizer state). After each step the
 * tensors marked so are printed, one line a step, floats in hexadecimal, so that no bit is lost:
 *
 *   loss=0x1.26bb1cp+1
 *
 * At the end the whole file, with what the steps left in it, is written to the last argument.
 * The exit status is 0, or 1 when something is wrong; stderr then says what.
 */
#define _DEFAULT_SOURCE /* For madvise. */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tensorc.h"

enum { ALIGNMENT = 64, STACKED = 1, PRINTED = 2, MAX_DIMS = 32 };
enum { HUGE_PAGE = 2 << 20, HUGE_FROM = 4 << 20 };

typedef int32_t entry_function(DLTensor *const *args, void *workspace, int64_t workspace_bytes,
                               int32_t num_threads, int64_t *error_info);

/* One tensor of the file; `bytes` is the length of one slice where it is stacked. */
typedef struct {
  DLTensor tensor;
  int64_t shape[MAX_DIMS];
  char name[256];
  uint32_t flags;
  char *data;
  uint64_t bytes;
} record;

typedef struct {
  char *bytes;
  uint64_t size;
  uint64_t steps;
  uint32_t count;
  record *records;
} tensor_file;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

/* Large memory asks for huge pages: to touch 4 KiB pages first costs more than a step's work. */
static void *allocate(uint64_t size) {
  uint64_t alignment = size >= HUGE_FROM ? HUGE_PAGE : ALIGNMENT;
  void *memory = aligned_alloc(alignment, (size / alignment + 1) * alignment);
  if (memory == NULL)
    fail("memory", "there is not enough");
#ifdef MADV_HUGEPAGE
  if (size >= HUGE_FROM)
    (void)madvise(memory, size, MADV_HUGEPAGE); /* Advice: a kernel without them may refuse. */
#endif
  return memory;
}

static uint64_t aligned(uint64_t offset) {
  return (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void read_bytes(tensor_file *file, const char *path) {
  FILE *stream = fopen(path, "rb");
  long size;
  if (stream == NULL || fseek(stream, 0, SEEK_END) != 0 || (size = ftell(stream)) < 0)
    fail(path, "cannot be read");
  rewind(stream);
  file->size = (uint64_t)size;
  file->bytes = allocate(file->size);
  if (fread(file->bytes, 1, file->size, stream) != file->size)
    fail(path, "cannot be read");
  fclose(stream);
}

static void take(const tensor_file *file, const char *path, uint64_t at, void *to, uint64_t size) {
  if (at > file->size || size > file->size - at)
    fail(path, "ends too early");
  memcpy(to, file->bytes + at, size);
}

/* Reads the tensor at `at`, and returns where the next one starts. */
static uint64_t read_record(const tensor_file *file, const char *path, uint64_t at, record *r) {
  struct {
    uint8_t code, bits;
    uint16_t lanes;
    uint32_t ndim, flags, name_bytes;
  } head;
  uint64_t bytes;
  take(file, path, at, &head, 16);
  take(file, path, at + 16, &bytes, 8);
  at += 24;
  if (head.ndim > MAX_DIMS || head.name_bytes >= sizeof r->name)
    fail(path, "a tensor has too many dimensions or too long a name");
  take(file, path, at, r->shape, 8 * (uint64_t)head.ndim);
  take(file, path, at + 8 * (uint64_t)head.ndim, r->name, head.name_bytes);
  r->name[head.name_bytes] = '\0';
  at = aligned(at + 8 * (uint64_t)head.ndim + head.name_bytes);
  if (at > file->size || bytes > file->size - at)
    fail(path, "ends too early");

  uint64_t slice = (head.bits * (uint64_t)head.lanes + 7) / 8;
  for (uint32_t d = 0; d < head.ndim; d++)
    slice *= (uint64_t)r->shape[d];
  if (bytes != ((head.flags & STACKED) ? slice * file->steps : slice))
    fail(path, "a tensor's length does not fit its shape");
  r->flags = head.flags;
  r->data = file->bytes + at;
  r->bytes = slice;
  r->tensor = (DLTensor){.data = r->data,
                         .device = {kDLCPU, 0},
                         .ndim = (int32_t)head.ndim,
                         .dtype = {head.code, head.bits, head.lanes},
                         .shape = r->shape,
                         .strides = NULL,
                         .byte_offset = 0};
  return aligned(at + bytes);
}

static tensor_file read_file(const char *path) {
  tensor_file file;
  char magic[8];
  uint32_t version;
  read_bytes(&file, path);
  take(&file, path, 0, magic, 8);
  take(&file, path, 8, &version, 4);
  take(&file, path, 12, &file.count, 4);
  take(&file, path, 16, &file.steps, 8);
  if (memcmp(magic, "TCTENSOR", 8) != 0 || version != 1 || file.count > file.size / ALIGNMENT)
    fail(path, "is no tensor file");
  file.records = allocate((file.count + 1) * sizeof(record));
  uint64_t at = ALIGNMENT;
  for (uint32_t i = 0; i < file.count; i++)
    at = read_record(&file, path, at, &file.records[i]);
  return file;
}

static void print_element(const DLTensor *tensor, uint64_t index) {
  const char *at = (const char *)tensor->data + index * tensor->dtype.bits / 8;
  switch (tensor->dtype.code * 256 + tensor->dtype.bits) {
  case kDLFloat * 256 + 32:
    printf("%a", (double)*(const float *)at);
    break;
  case kDLFloat * 256 + 64:
    printf("%a", *(const double *)at);
    break;
  case kDLInt * 256 + 64:
    printf("%" PRId64, *(const int64_t *)at);
    break;
  case kDLInt * 256 + 32:
    printf("%" PRId32, *(const int32_t *)at);
    break;
  default: /* Any other type by its bytes, the last one first. */
    printf("0x");
    for (int byte = tensor->dtype.bits / 8 - 1; byte >= 0; byte--)
      printf("%02x", (unsigned char)at[byte]);
  }
}

static void print_step(const tensor_file *file) {
  const char *gap = "";
  for (uint32_t i = 0; i < file->count; i++) {
    const record *r = &file->records[i];
    if (!(r->flags & PRINTED))
      continue;
    printf("%s%s=", gap, r->name);
    gap = " ";
    uint64_t elements = r->bytes / (r->tensor.dtype.bits / 8u);
    for (uint64_t e = 0; e < elements; e++) {
      if (e > 0)
        putchar(',');
      print_element(&r->tensor, e);
    }
  }
  putchar('\n');
}

static void run(const tensor_file *file, entry_function *entry, const char *name, int threads) {
  DLTensor **args = allocate((file->count + 1) * sizeof *args);
  void *workspace = NULL;
  int64_t workspace_bytes = 0, info[4];
  for (uint64_t step = 0; step < file->steps; step++) {
    for (uint32_t i = 0; i < file->count; i++) {
      record *r = &file->records[i];
      r->tensor.data = r->data + ((r->flags & STACKED) ? step * r->bytes : 0);
      args[i] = &r->tensor;
    }
    int32_t code = entry(args, workspace, workspace_bytes, threads, info);
    if (code == TENSORC_WORKSPACE && info[3] > workspace_bytes) {
      /* The first call says how much it needs; NAME_workspace would tell it from the sizes. */
      free(workspace);
      workspace_bytes = info[3];
      workspace = allocate((uint64_t)workspace_bytes);
      code = entry(args, workspace, workspace_bytes, threads, info);
    }
    if (code != TENSORC_OK) {
      fprintf(stderr, "%s: step %" PRIu64 ": %s (%" PRId64 ", %" PRId64 ", %" PRId64 ", %" PRId64 ")\n",
              name, step, tensorc_error_name(code), info[0], info[1], info[2], info[3]);
      exit(1);
    }
    print_step(file);
  }
  free(workspace);
  free(args);
}

int main(int argc, char **argv) {
  if (argc < 4 || argc > 6)
    fail("usage", "train_mlp LIBRARY NAME TENSORS [THREADS [RESULT]]");
  int threads = argc > 4 ? atoi(argv[4]) : 1;
  tensor_file file = read_file(argv[3]);

  /* The library finds an OpenMP runtime if one is in the process, and runs serially if not. */
  if (threads > 1 && dlopen("libgomp.so.1", RTLD_NOW | RTLD_GLOBAL) == NULL)
    dlopen("libomp.so.5", RTLD_NOW | RTLD_GLOBAL);
  void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL)
    fail(argv[1], dlerror());
  entry_function *entry;
  *(void **)&entry = dlsym(library, argv[2]);
  if (entry == NULL)
    fail(argv[1], dlerror());

  run(&file, entry, argv[2], threads);

  if (argc > 5) {
    FILE *stream = fopen(argv[5], "wb");
    if (stream == NULL || fwrite(file.bytes, 1, file.size, stream) != file.size ||
        fclose(stream) != 0)
      fail(argv[5], "cannot be written");
  }
  return 0;
}
