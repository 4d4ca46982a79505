#include "archive/tar_front.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace weir::archive {

bool TarFront::feed(std::span<const std::byte> bytes) {
  if (reader_.seen() >= kMost || all_there()) return false;
  const auto room = kMost - reader_.seen();
  const auto piece =
      bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(room, bytes.size())));
  return reader_.feed(piece) && piece.size() == bytes.size() && !all_there();
}

bool TarFront::on_entry(const TarReader::Entry& entry) {
  into_ = nullptr;
  if (all_there()) return false;
  if (entry.type != TarReader::Type::file) return true;
  std::string_view name = entry.name;
  if (const auto slash = name.find('/'); slash != std::string_view::npos)
    name.remove_prefix(slash + 1);
  if (name == "backup_label" && entry.size <= kLargestLabel) into_ = &label_;
  if (name == "backup_manifest" && entry.size <= kLargestManifest) into_ = &manifest_;
  size_ = entry.size;
  text_.clear();
  if (into_ != nullptr && entry.size == 0) *into_ = std::string();
  return true;
}

void TarFront::on_content(std::span<const std::byte> bytes) {
  if (into_ == nullptr) return;
  text_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text_.size() == size_) *into_ = std::exchange(text_, {});
}

}  // namespace weir::archive
