#include "archive/digest.h"

#include <isa-l/crc.h>
#include <isa-l/crc64.h>

namespace weir::archive {

void Digest::add(std::span<const std::byte> bytes) {
  // ISA-L does not write to the buffer, its prototypes only lack the const.
  auto* buffer = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
  crc64_ = crc64_ecma_refl(crc64_, buffer, bytes.size());
  crc32c_ = crc32_iscsi(buffer, static_cast<int>(bytes.size()), crc32c_);
  size_ += bytes.size();
}

}  // namespace weir::archive
