#include "store/ledger/manifest_chain.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace weir::store {

namespace {

constexpr std::string_view kFolder = "manifest/";
constexpr std::size_t kNumberDigits = 8;
constexpr std::size_t kLongestChain = 32;
constexpr const char* kFirstLine = "pgweir-manifest 1 {} {}";

bool is_chain(std::string_view text) {
  return !text.empty() && text.size() <= kLongestChain &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

/// Removes a line; nullopt: it is incomplete.
std::optional<std::string_view> take_line_of(std::string_view& text) {
  const auto end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  const auto line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

}  // namespace

bool is_prune_chain(std::string_view id) { return id.starts_with(kPruneChain); }
bool is_rewrap_chain(std::string_view id) { return id.starts_with(kRewrapChain); }

std::string manifest_prefix(const Layout& layout) { return layout.own_key(kFolder); }

std::string manifest_key(const Layout& layout, std::string_view chain, std::uint64_t number) {
  return fmt::format("{}{}/{:0{}}", manifest_prefix(layout), chain, number, kNumberDigits);
}

std::optional<ManifestPlace> parse_manifest_key(const Layout& layout, std::string_view key) {
  const auto prefix = manifest_prefix(layout);
  if (!key.starts_with(prefix)) return std::nullopt;
  key.remove_prefix(prefix.size());
  const auto slash = key.find('/');
  if (slash == std::string_view::npos || !is_chain(key.substr(0, slash))) return std::nullopt;
  const auto digits = key.substr(slash + 1);
  const auto number = parse_number<std::uint64_t>(digits);
  if (!number || digits.size() < kNumberDigits) return std::nullopt;
  return ManifestPlace{std::string(key.substr(0, slash)), *number};
}

std::string manifest_text(const ManifestPlace& place, std::span<const std::string> lines) {
  auto text = fmt::format(kFirstLine, place.chain, place.number) + "\n";
  for (const auto& line : lines) text += line + "\n";
  return text;
}

std::optional<ManifestCut> cut_of(std::span<const ManifestChain> prunes, std::string_view id,
                                  bool keys_given) {
  std::optional<ManifestCut> cut;
  for (const auto& chain : prunes)
    for (const auto& line : chain.believed(keys_given))
      if (line.entry.kind == ManifestEntry::Kind::cut && line.entry.chain == id)
        if (!cut || cut->number < line.entry.size) cut = {line.entry.size, line.entry.after};
  return cut;
}

void ManifestChainReader::take(std::uint64_t number, std::string_view content,
                               const std::string& name) {
  if (chain_.cut && number < chain_.cut->number) return;
  if (number != next_)
    breaks(fmt::format("{} manifest object{} before {} {} missing", number - next_,
                       number - next_ == 1 ? "" : "s", name, number - next_ == 1 ? "is" : "are"));
  else if (!full_)
    breaks(fmt::format("lines are missing before {}", name));
  next_ = number + 1;
  chain_.signed_by.reset();
  chain_.proved = false;
  auto text = content;
  if (const auto found = SignedText::parse(content)) {
    text = found->text;
    chain_.signed_by = found->number;
    const auto key = std::find_if(keys_.begin(), keys_.end(), [&](const SignifyPublic& each) {
      return each.number == found->number;
    });
    chain_.proved = key != keys_.end() && found->is_by(*key);
    if (key != keys_.end() && !chain_.proved)
      chain_.broken.push_back(fmt::format("the signature of {} does not match its lines", name));
  }
  if (take_line_of(text) != fmt::format(kFirstLine, chain_.id, number)) {
    breaks(fmt::format("the first line of {} does not match its name", name));
    full_ = true;
    return;
  }
  std::size_t count = 0;
  while (!text.empty()) {
    const auto line = take_line_of(text);
    ++count;
    take_line(line.value_or(""), fmt::format("line {} of {}", count, name));
    if (!line) break;
  }
  full_ = count == kManifestLines;
  if (count > kManifestLines)
    chain_.broken.push_back(fmt::format("{} has more lines than any manifest object", name));
}

/// No later signature covers the lines up to here: they may have been changed by any client that
/// can write to the store.
void ManifestChainReader::breaks(std::string what) {
  chain_.broken.push_back(std::move(what));
  chain_.linked_from = chain_.lines.size();
}

void ManifestChainReader::take_line(std::string_view text, const std::string& where) {
  auto line = ManifestLine::parse(text);
  if (!line) return breaks(where + " cannot be read");
  if (line->before != chain_.head())
    breaks(where + " does not continue the previous line: a line was changed, removed or moved");
  chain_.hashes.push_back(hash_of_line(text));
  chain_.lines.push_back(std::move(*line));
}

}  // namespace weir::store
