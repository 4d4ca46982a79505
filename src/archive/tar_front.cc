#include "archive/tar_front.h"

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/error.h"
#include "base/text.h"

namespace weir::archive {

namespace {

// The fields of a header (pgtar.h).
constexpr std::size_t kName = 100;
constexpr std::size_t kSizeAt = 124, kSizeLength = 12;
constexpr std::size_t kChecksumAt = 148, kChecksumLength = 8;
constexpr std::size_t kTypeAt = 156;

std::string_view text_at(std::span<const std::byte> header, std::size_t at, std::size_t length) {
  const auto* const begin = reinterpret_cast<const char*>(header.data()) + at;
  return {begin, ::strnlen(begin, length)};
}

/// Octal digits; or, with the highest bit set, binary (base-256, for what is too large for them).
std::optional<std::uint64_t> number_at(std::span<const std::byte> header, std::size_t at,
                                       std::size_t length) {
  if (header[at] == std::byte{0x80}) {
    std::uint64_t value = 0;
    for (std::size_t i = length - 8; i < length; ++i)
      value = value << 8 | std::to_integer<std::uint64_t>(header[at + i]);
    return value;
  }
  return parse_number<std::uint64_t>(trimmed(text_at(header, at, length)), 8);
}

bool checksum_is_right(std::span<const std::byte> header) {
  std::uint64_t sum = kChecksumLength * ' ';
  for (std::size_t i = 0; i < header.size(); ++i)
    if (i < kChecksumAt || i >= kChecksumAt + kChecksumLength)
      sum += std::to_integer<std::uint64_t>(header[i]);
  return number_at(header, kChecksumAt, kChecksumLength) == sum;
}

}  // namespace

bool TarFront::feed(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (seen_ >= kMost || all_there()) return false;
    std::size_t taken = 0;
    if (content_left_ > 0) {
      taken = static_cast<std::size_t>(std::min<std::uint64_t>(content_left_, bytes.size()));
      take_content(bytes.first(taken));
    } else if (padding_left_ > 0) {
      taken = static_cast<std::size_t>(std::min<std::uint64_t>(padding_left_, bytes.size()));
      padding_left_ -= taken;
    } else {
      taken = std::min(kBlock - header_.size(), bytes.size());
      header_.insert(header_.end(), bytes.begin(),
                     bytes.begin() + static_cast<std::ptrdiff_t>(taken));
      if (header_.size() == kBlock && !begin_entry()) return false;
    }
    seen_ += taken;
    bytes = bytes.subspan(taken);
  }
  return !all_there();
}

/// False: the tar file ends here.
bool TarFront::begin_entry() {
  const auto header = std::exchange(header_, {});
  if (std::all_of(header.begin(), header.end(), [](std::byte byte) { return byte == std::byte{}; }))
    return false;
  const auto size = number_at(header, kSizeAt, kSizeLength);
  if (!checksum_is_right(header) || !size) throw Error(ErrorKind::damage, "this is no tar file");
  content_left_ = *size;
  padding_left_ = (kBlock - *size % kBlock) % kBlock;
  into_ = nullptr;
  const auto type = std::to_integer<char>(header[kTypeAt]);
  if (type != '0' && type != '\0') {
    // Of links and folders the size may say something, and nothing follows; of other entries (long
    // names, attributes) what follows is as long as it says.
    if (type >= '1' && type <= '6') content_left_ = padding_left_ = 0;
    return true;
  }
  auto name = text_at(header, 0, kName);
  if (const auto slash = name.find('/'); slash != std::string_view::npos)
    name.remove_prefix(slash + 1);
  if (name == "backup_label" && *size <= kLargestLabel) into_ = &label_;
  if (name == "backup_manifest" && *size <= kLargestManifest) into_ = &manifest_;
  text_.clear();
  if (into_ != nullptr && *size == 0) *into_ = std::string();
  return true;
}

void TarFront::take_content(std::span<const std::byte> bytes) {
  content_left_ -= bytes.size();
  if (into_ == nullptr) return;
  text_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (content_left_ == 0) *into_ = std::move(text_);
}

}  // namespace weir::archive
