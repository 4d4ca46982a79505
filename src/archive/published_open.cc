#include "archive/published_open.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "archive/record_file.h"
#include "archive/segment_reader.h"
#include "base/error.h"

namespace weir::archive {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kPublishedPrefix = ".pgweir-published-";
constexpr int kPublishedVersion = 1;

}  // namespace

std::string PublishedOpen::text() const {
  if (!end.valid()) return fmt::format("{}: the record cannot be read", segment);
  return fmt::format(
      "{} was published unfinished: valid up to {}, followed by zeros, in the store since {} "
      "({}){}",
      segment, end, time, object, forced ? ", without checking for a running server" : "");
}

std::string published_open_name(wal::SegmentName segment) {
  return std::string(kPublishedPrefix) + segment.to_string();
}

std::optional<wal::SegmentName> parse_published_open_name(std::string_view name) {
  if (!name.starts_with(kPublishedPrefix)) return std::nullopt;
  return wal::SegmentName::parse(name.substr(kPublishedPrefix.size()));
}

std::string published_open_record(const PublishedOpen& published) {
  Json json;
  json["what"] =
      "This segment was incomplete when it was uploaded to the store under its final name "
      "(\"pgweir store publish-partial\"): it is valid up to \"end\", followed by zeros.";
  json["if_this_file_is_lost"] =
      "The segment is no longer reported. The object in the store is itself marked as padded, so "
      "the complete segment still replaces it.";
  json["version"] = kPublishedVersion;
  json["segment"] = published.segment.to_string();
  json["end"] = published.end.to_string();
  json["object"] = published.object;
  json["time"] = published.time;
  json["forced"] = published.forced;
  return text_of_record_file(json);
}

std::optional<PublishedOpen> parse_published_open(wal::SegmentName segment,
                                                  std::string_view record) {
  const auto json = Json::parse(record, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  try {
    const auto end = wal::Lsn::parse(json.at("end").get_ref<const std::string&>());
    if (json.at("version").get<int>() != kPublishedVersion || !end ||
        json.at("segment").get_ref<const std::string&>() != segment.to_string())
      return std::nullopt;
    return PublishedOpen{.segment = segment,
                         .end = *end,
                         .object = json.at("object").get<std::string>(),
                         .time = json.at("time").get<std::string>(),
                         .forced = json.at("forced").get<bool>()};
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

std::vector<PublishedOpen> read_published_open(io::Shelf& shelf, const Listing& listing) {
  std::vector<PublishedOpen> all;
  for (const auto& name : listing.hidden) {
    const auto segment = parse_published_open_name(name);
    if (!segment) continue;
    const auto text = read_record_file(shelf, name);
    if (!text) continue;
    all.push_back(
        parse_published_open(*segment, *text)
            .value_or(PublishedOpen{.segment = *segment, .end = {}, .object = {}, .time = {}}));
  }
  std::sort(all.begin(), all.end(), [](const PublishedOpen& one, const PublishedOpen& other) {
    return one.segment < other.segment;
  });
  return all;
}

std::optional<PublishedOpen> published_open_of(io::Shelf& shelf, wal::SegmentName segment) {
  const auto text = read_record_file(shelf, published_open_name(segment));
  return text ? parse_published_open(segment, *text) : std::nullopt;
}

bool has_zeros_behind(io::Shelf& shelf, const SegmentFileName& file, wal::SegmentSize size,
                      wal::Lsn end) {
  const auto start = file.segment.start(size);
  if (end < start || start + size.bytes() < end) return false;
  std::uint64_t at = 0;
  const auto sound = end - start;
  bool zeros = true;
  read_segment(shelf, file, size, [&](std::span<const std::byte> wal) {
    const auto skipped = at < sound ? std::min<std::uint64_t>(sound - at, wal.size()) : 0;
    const auto behind = wal.subspan(static_cast<std::size_t>(skipped));
    at += wal.size();
    zeros = std::all_of(behind.begin(), behind.end(),
                        [](std::byte each) { return each == std::byte{0}; });
    return zeros;
  });
  return zeros && at == size.bytes();
}

void record_published_open(Home& home, const PublishedOpen& published) {
  publish_text(home,
               {.name = published_open_name(published.segment),
                .replace = true,
                .writers = Home::Writers::many},
               published_open_record(published));
}

void close_published_open(io::Directory& directory, wal::SegmentName segment) {
  const auto name = published_open_name(segment);
  if (!directory.find(name)) return;
  directory.remove(name);
  directory.sync();
}

void close_published_open(io::Directory& directory, const Listing& listing) {
  const auto position = [](wal::SegmentName segment) {
    return segment.to_string().substr(wal::kTimelineDigits);
  };
  for (const auto& name : listing.hidden) {
    const auto segment = parse_published_open_name(name);
    if (segment && !listing.segments.empty() &&
        std::all_of(listing.segments.begin(), listing.segments.end(), [&](const auto& entry) {
          return position(*segment) < position(entry.name.segment);
        }))
      close_published_open(directory, *segment);
  }
}

}  // namespace weir::archive
