#include "store/ledger/manifest_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "base/text.h"
#include "crypto/digest.h"
#include "crypto/primitives.h"

namespace weir::store {

namespace {

using Kind = ManifestEntry::Kind;

constexpr std::array<std::pair<Kind, std::string_view>, 7> kKinds = {
    {{Kind::put, "put"},
     {Kind::same, "same"},
     {Kind::seen, "seen"},
     {Kind::rewrapped, "rewrapped"},
     {Kind::padded, "padded"},
     {Kind::begin, "begin"},
     {Kind::cut, "cut"}}};

constexpr std::size_t kFields = 11;
constexpr std::size_t kChainFields = 6;

bool is_about_chain(Kind kind) { return kind == Kind::begin || kind == Kind::cut; }

bool is_hex(std::string_view text, std::size_t digits) {
  return text.size() == digits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}
constexpr std::size_t kSha256Digits = 64;
constexpr std::size_t kMd5Digits = 32;

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

/// Returns false for neither that many digits nor "-".
bool take_digest(std::string_view field, std::size_t digits, std::string& to) {
  if (field == "-") return true;
  if (!is_hex(field, digits)) return false;
  to = std::string(field);
  return true;
}

/// "2026-11-22T06:00:00.000000Z"; a record's value may not be representable.
std::string time_text(const std::optional<wal::PgTime>& time) {
  if (!time) return "-";
  auto text = time->to_string();
  text[text.find(' ')] = 'T';
  text = text.substr(0, text.find(' ')) + "Z";
  return wal::PgTime::parse(text) == time ? text : "-";
}

std::vector<std::string_view> fields_of(std::string_view text) {
  std::vector<std::string_view> fields;
  while (true) {
    const auto space = text.find(' ');
    fields.push_back(text.substr(0, space));
    if (space == std::string_view::npos) return fields;
    text.remove_prefix(space + 1);
  }
}

}  // namespace

std::string_view to_string(ManifestEntry::Kind kind) {
  return std::find_if(kKinds.begin(), kKinds.end(),
                      [&](const auto& each) { return each.first == kind; })
      ->second;
}

std::string place_of(wal::SegmentName segment) {
  return segment.to_string().substr(wal::kTimelineDigits);
}

std::string hash_of_line(std::string_view text) {
  return crypto::to_hex(crypto::sha256(std::as_bytes(std::span(text))));
}

std::string genesis_of(std::string_view chain) {
  return hash_of_line("pgweir-manifest " + std::string(chain));
}

bool is_manifest_hash(std::string_view text) { return is_hex(text, kSha256Digits); }

std::string ManifestLine::to_text() const {
  const auto& e = entry;
  if (is_about_chain(e.kind))
    return fmt::format("{} {} {} {} {} {}", to_string(e.kind),
                       e.kind == Kind::cut ? std::to_string(e.size) : e.name, e.chain, e.after,
                       e.system_identifier, before);
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {}", to_string(e.kind), e.name, e.size,
                     or_dash(e.sha256), or_dash(e.md5), e.first, e.last, time_text(e.commit),
                     or_dash(e.hmac), e.system_identifier, before);
}

std::optional<ManifestLine> ManifestLine::parse(std::string_view text) {
  const auto fields = fields_of(text);
  const auto kind = std::find_if(kKinds.begin(), kKinds.end(),
                                 [&](const auto& each) { return each.second == fields.front(); });
  if (kind == kKinds.end()) return std::nullopt;
  ManifestLine line;
  auto& e = line.entry;
  e.kind = kind->first;
  const bool about_chain = is_about_chain(e.kind);
  if (fields.size() != (about_chain ? kChainFields : kFields)) return std::nullopt;
  e.name = std::string(fields[1]);
  const auto system = parse_number<std::uint64_t>(fields[fields.size() - 2]);
  if (e.name.empty() || !system || !is_manifest_hash(fields.back())) return std::nullopt;
  e.system_identifier = *system;
  line.before = std::string(fields.back());
  if (about_chain) {
    if (!is_manifest_hash(fields[3])) return std::nullopt;
    if (e.kind == Kind::cut) {
      const auto number = parse_number<std::uint64_t>(e.name);
      if (!number) return std::nullopt;
      e.size = *number;
      e.name.clear();
    } else if (!wal::SegmentName::parse(e.name)) {
      return std::nullopt;
    }
    e.chain = std::string(fields[2]);
    e.after = std::string(fields[3]);
  } else {
    const auto size = parse_number<std::uint64_t>(fields[2]);
    const auto first = wal::Lsn::parse(fields[5]);
    const auto last = wal::Lsn::parse(fields[6]);
    if (!size || !first || !last || !take_digest(fields[3], kSha256Digits, e.sha256) ||
        !take_digest(fields[4], kMd5Digits, e.md5) ||
        !take_digest(fields[8], kSha256Digits, e.hmac))
      return std::nullopt;
    e.size = *size;
    e.first = *first;
    e.last = *last;
    if (fields[7] != "-") {
      e.commit = wal::PgTime::parse(fields[7]);
      if (!e.commit) return std::nullopt;
    }
  }
  // Only one text per line: otherwise it could be changed unnoticed.
  return line.to_text() == text ? std::optional(std::move(line)) : std::nullopt;
}

}  // namespace weir::store
