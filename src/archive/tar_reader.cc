#include "archive/tar_reader.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/text.h"

// A few dozen lines of our own instead of libarchive: only the output of PostgreSQL's pgtar.c is
// read, and that library would load five others into each `pgweir restore`.

namespace weir::archive {

namespace {

// The fields of a header (pgtar.h).
constexpr std::size_t kName = 100;
constexpr std::size_t kModeAt = 100, kModeLength = 8;
constexpr std::size_t kSizeAt = 124, kSizeLength = 12;
constexpr std::size_t kChecksumAt = 148, kChecksumLength = 8;
constexpr std::size_t kTypeAt = 156;
constexpr std::size_t kLinkAt = 157;
constexpr std::size_t kMagicAt = 257, kMagicLength = 6;
constexpr std::size_t kPrefixAt = 345, kPrefixLength = 155;
/// A name or the attributes of an entry are no longer than this.
constexpr std::uint64_t kLongestText = std::uint64_t{64} << 10;

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

/// POSIX has a second field for the front of a long name; GNU tar uses it differently.
std::string name_in(std::span<const std::byte> header) {
  std::string name(text_at(header, 0, kName));
  if (text_at(header, kMagicAt, kMagicLength) != "ustar") return name;
  const auto prefix = text_at(header, kPrefixAt, kPrefixLength);
  return prefix.empty() ? name : std::string(prefix) + "/" + name;
}

}  // namespace

bool TarReader::feed(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (ended_) return false;
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
  return true;
}

/// False: the tar file ends here, or the visitor has enough.
bool TarReader::begin_entry() {
  const auto header = std::exchange(header_, {});
  if (std::all_of(header.begin(), header.end(),
                  [](std::byte byte) { return byte == std::byte{}; })) {
    ended_ = true;
    return false;
  }
  const auto told = number_at(header, kSizeAt, kSizeLength);
  if (!checksum_is_right(header) || !told)
    throw Error(ErrorKind::damage, "the file is not a tar file");
  const auto type = std::to_integer<char>(header[kTypeAt]);
  const bool names_the_next = type == 'L' || type == 'K' || type == 'x';
  const auto size =
      names_the_next ? *told : std::exchange(long_size_, std::nullopt).value_or(*told);
  content_left_ = size;
  padding_left_ = (kBlock - size % kBlock) % kBlock;
  into_ = Into::nothing;
  if (names_the_next) {
    if (size > kLongestText)
      throw Error(ErrorKind::damage, "invalid name in the tar file").with("length", size);
    into_ = type == 'L' ? Into::name : type == 'K' ? Into::link : Into::pax;
    text_.clear();
    return true;
  }
  Entry entry;
  entry.mode = static_cast<unsigned>(number_at(header, kModeAt, kModeLength).value_or(0) & 0777);
  entry.name = std::exchange(long_name_, std::nullopt).value_or(name_in(header));
  const auto link = std::exchange(long_link_, std::nullopt);
  const bool is_sparse = std::exchange(is_sparse_, false);
  if ((type == '0' || type == '\0') && !is_sparse) {
    entry.size = size;
    into_ = Into::visitor;
    return visitor_.on_entry(entry);
  }
  // The size field of links and directories may be set, but no content follows; for other entries
  // (attributes of the whole file) the content has that size.
  if (type >= '1' && type <= '6') content_left_ = padding_left_ = 0;
  entry.type = type == '5' ? Type::directory : type == '2' ? Type::symbolic_link : Type::other;
  if (entry.type == Type::symbolic_link)
    entry.link = link.value_or(std::string(text_at(header, kLinkAt, kName)));
  return type == 'g' || visitor_.on_entry(entry);
}

std::uint64_t TarReader::skip_content() {
  if (into_ != Into::visitor && into_ != Into::nothing) return 0;
  const auto skipped = content_left_ + padding_left_;
  content_left_ = padding_left_ = 0;
  seen_ += skipped;
  return skipped;
}

void TarReader::take_content(std::span<const std::byte> bytes) {
  content_left_ -= bytes.size();
  if (into_ == Into::nothing) return;
  if (into_ == Into::visitor) return visitor_.on_content(bytes);
  text_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (content_left_ == 0) take_text();
}

void TarReader::take_text() {
  if (into_ == Into::pax) return take_pax(text_);
  const auto end = text_.find('\0');
  (into_ == Into::name ? long_name_ : long_link_) = text_.substr(0, end);
}

/// Lines of "LENGTH NAME=VALUE\n", where LENGTH is that of the line.
void TarReader::take_pax(std::string_view text) {
  while (!text.empty()) {
    const auto space = text.find(' ');
    const auto length = space == std::string_view::npos
                            ? std::nullopt
                            : parse_number<std::size_t>(text.substr(0, space));
    if (!length || *length <= space + 1 || *length > text.size() || text[*length - 1] != '\n')
      throw Error(ErrorKind::damage, "invalid attributes in the tar file");
    const auto line = text.substr(space + 1, *length - space - 2);
    const auto equals = line.find('=');
    const auto value = equals == std::string_view::npos ? "" : line.substr(equals + 1);
    const auto name = line.substr(0, equals);
    if (name == "path") long_name_ = value;
    if (name == "linkpath") long_link_ = value;
    is_sparse_ = is_sparse_ || name.starts_with("GNU.sparse.");
    if (name == "size") long_size_ = parse_number<std::uint64_t>(value);
    text.remove_prefix(*length);
  }
}

}  // namespace weir::archive
