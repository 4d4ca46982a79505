#include "archive/unvouched.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "archive/record_file.h"
#include "base/error.h"
#include "base/text.h"

namespace weir::archive {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kUnvouchedPrefix = ".pgweir-unvouched-";
constexpr int kUnvouchedVersion = 1;

std::string name_of(const Unvouched& unvouched) {
  return std::string(kUnvouchedPrefix) + unvouched.id();
}

/// nullopt: not one of ours ("…-1-0-3000000"), or a temporary name.
std::optional<Unvouched> parse_name(std::string_view name) {
  if (!name.starts_with(kUnvouchedPrefix)) return std::nullopt;
  const auto text = name.substr(kUnvouchedPrefix.size());
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  Unvouched unvouched;
  const auto timeline = parse_number<wal::TimelineId>(text.substr(0, dash));
  if (!timeline) return std::nullopt;
  unvouched.timeline = *timeline;
  std::string position(text.substr(dash + 1));
  std::replace(position.begin(), position.end(), '-', '/');
  const auto begin = wal::Lsn::parse(position);
  if (!begin) return std::nullopt;
  unvouched.begin = *begin;
  if (name_of(unvouched) != name) return std::nullopt;
  return unvouched;
}

/// nullopt: it no longer exists.
std::optional<Unvouched> read(io::Shelf& shelf, const std::string& name, Unvouched unvouched) {
  const auto text = read_record_file(shelf, name);
  if (!text) return std::nullopt;
  const auto json = Json::parse(*text, nullptr, false);
  unvouched.end = unvouched.begin + 1;
  unvouched.left = unvouched.right = true;
  unvouched.complaint = "the record is damaged";
  if (!json.is_object()) return unvouched;
  const auto end = wal::Lsn::parse(text_in(json, "end"));
  const auto size = wal::SegmentSize::of(number_in(json, "segment_size").value_or(0));
  if (!end || *end <= unvouched.begin || !size) return unvouched;
  unvouched.end = *end;
  unvouched.segment_size = *size;
  unvouched.left = flag_in(json, "open_on_the_left");
  unvouched.right = flag_in(json, "open_on_the_right");
  unvouched.found = text_in(json, "found");
  unvouched.source = text_in(json, "source");
  unvouched.complaint.reset();
  return unvouched;
}

}  // namespace

std::string Unvouched::id() const {
  auto position = begin.to_string();
  std::replace(position.begin(), position.end(), '/', '-');
  return fmt::format("{}-{}", timeline, position);
}

std::string Unvouched::text() const {
  if (complaint) return fmt::format("imported WAL from {} on: {}", begin, *complaint);
  return fmt::format(
      "imported WAL from {} to {} (timeline {}) could not be verified against the WAL {}, which is "
      "still missing or was not compared with it",
      begin, end, timeline,
      left && right ? "before and after it"
      : left        ? "before it"
                    : "after it");
}

bool is_unvouched_record(std::string_view name) { return parse_name(name).has_value(); }

std::vector<Unvouched> read_unvouched(io::Shelf& shelf, const Listing& listing) {
  std::vector<Unvouched> all;
  for (const auto& name : listing.hidden) {
    auto named = parse_name(name);
    if (!named) continue;
    try {
      if (auto found = read(shelf, name, *named)) all.push_back(std::move(*found));
    } catch (const Error& error) {
      named->end = named->begin + 1;
      named->left = named->right = true;
      named->complaint = error.what();
      all.push_back(std::move(*named));
    }
  }
  std::sort(all.begin(), all.end(), [](const Unvouched& a, const Unvouched& b) {
    return std::tie(a.begin, a.timeline) < std::tie(b.begin, b.timeline);
  });
  return all;
}

void record_unvouched(Home& home, const Unvouched& unvouched) {
  Json json;
  json["what"] =
      "These segments were imported. They are valid and match the archive's WAL on one side. The "
      "WAL on the other side was missing, so they could not be compared with it. The next \"pgweir "
      "import\" checks again, and removes this file if they match.";
  json["if_this_file_is_lost"] =
      "The segments are no longer reported. Once the missing WAL is in the archive, \"pgweir "
      "verify\" still finds a mismatch.";
  json["version"] = kUnvouchedVersion;
  json["timeline"] = unvouched.timeline;
  json["begin"] = unvouched.begin.to_string();
  json["end"] = unvouched.end.to_string();
  json["segment_size"] = unvouched.segment_size.bytes();
  json["open_on_the_left"] = unvouched.left;
  json["open_on_the_right"] = unvouched.right;
  json["found"] = unvouched.found;
  json["source"] = unvouched.source;
  publish_text(home, {.name = name_of(unvouched), .replace = true, .writers = Home::Writers::many},
               text_of_record_file(json));
}

void remove_unvouched(io::Directory& directory, const Unvouched& unvouched) {
  directory.remove(name_of(unvouched));
  directory.sync();
}

void close_unvouched(io::Directory& directory, const Listing& listing) {
  for (const auto& unvouched : read_unvouched(directory, listing)) {
    const auto& size = unvouched.segment_size;
    const bool some = std::any_of(
        listing.segments.begin(), listing.segments.end(), [&](const SegmentEntry& entry) {
          const auto& name = entry.name.segment;
          return !entry.name.partial && name.fits(size) && name.start(size) >= unvouched.begin &&
                 name.start(size) < unvouched.end;
        });
    if (!some && !unvouched.complaint) remove_unvouched(directory, unvouched);
  }
}

}  // namespace weir::archive
