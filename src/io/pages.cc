#include "io/pages.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace weir::io {

namespace {

/// Mapping and unmapping costs more than clearing what is smaller.
constexpr std::size_t kWorthMapping = std::size_t{1} << 20;

}  // namespace

Pages::Pages(std::size_t bytes) : size_(bytes) {
  if (bytes < kWorthMapping) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* const memory = std::aligned_alloc(page, (bytes + page - 1) / page * page);
    if (memory == nullptr) throw std::bad_alloc();
    std::memset(memory, 0, bytes);
    data_ = static_cast<std::byte*>(memory);
    return;
  }
  void* const memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // Fewer faults if the kernel supports large pages; otherwise without effect.
  ::madvise(memory, bytes, MADV_HUGEPAGE);
  data_ = static_cast<std::byte*>(memory);
}

Pages::~Pages() {
  if (size_ < kWorthMapping) {
    std::free(data_);
  } else {
    ::munmap(data_, size_);
  }
}

namespace {

/// For the first object, which is the program itself: only pages that cannot have been written to,
/// and therefore are the same in the file as in memory.
int unmap_clean_parts(dl_phdr_info* program, std::size_t, void*) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (int i = 0; i < program->dlpi_phnum; ++i) {
    const auto& part = program->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_W) != 0) continue;
    const auto begin = (program->dlpi_addr + part.p_vaddr) & ~(page - 1);
    const auto end = (program->dlpi_addr + part.p_vaddr + part.p_memsz) & ~(page - 1);
    if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 1;
}

}  // namespace

void release_unused_memory() { ::malloc_trim(0); }

void release_program() { ::dl_iterate_phdr(unmap_clean_parts, nullptr); }

}  // namespace weir::io
