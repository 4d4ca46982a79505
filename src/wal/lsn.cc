#include "wal/lsn.h"

#include <charconv>

namespace weir {

namespace {

std::optional<std::uint32_t> parse_half(std::string_view digits) {
  if (digits.empty() || digits.size() > 8) return std::nullopt;
  std::uint32_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

}  // namespace

std::optional<Lsn> Lsn::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto high = parse_half(text.substr(0, slash));
  const auto low = parse_half(text.substr(slash + 1));
  if (!high || !low) return std::nullopt;
  return Lsn((std::uint64_t{*high} << 32) | *low);
}

std::string Lsn::to_string() const {
  return fmt::format("{:X}/{:X}", byte_ >> 32, byte_ & 0xFFFFFFFFu);
}

}  // namespace weir
