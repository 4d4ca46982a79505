#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "codec/codec.h"

// The implementations of the compression methods, each in a file of its own.

namespace weir::codec {

inline constexpr std::size_t kBuffer = kOutput;

[[nodiscard]] std::unique_ptr<Compressor> make_zstd_compressor(int level,
                                                               std::uint64_t content_size);
[[nodiscard]] std::unique_ptr<Decompressor> make_zstd_decompressor(Checksums checksums);
/// As compression_memory().
[[nodiscard]] std::uint64_t zstd_memory(int level, std::uint64_t content_size);
[[nodiscard]] std::unique_ptr<Compressor> make_gzip_compressor(int level,
                                                               std::uint64_t content_size);
[[nodiscard]] std::unique_ptr<Decompressor> make_gzip_decompressor();
[[nodiscard]] std::unique_ptr<Compressor> make_lz4_compressor(int level,
                                                              std::uint64_t content_size);
[[nodiscard]] std::unique_ptr<Decompressor> make_lz4_decompressor();

/// An object of a C library, freed by its function.
template <typename T, auto kFree>
struct Freer {
  void operator()(T* object) const { kFree(object); }
};
template <typename T, auto kFree>
using Owned = std::unique_ptr<T, Freer<T, kFree>>;

inline Error damage(std::string_view method, std::string_view reason) {
  return Error(ErrorKind::damage, fmt::format("broken {} data: {}", method, reason));
}
/// Out of memory, or a call that cannot fail did.
inline Error library_error(std::string_view method, std::string_view reason) {
  return Error(ErrorKind::io, fmt::format("{} does not work: {}", method, reason));
}

}  // namespace weir::codec
