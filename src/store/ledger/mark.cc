#include "store/ledger/mark.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "archive/lock_file.h"
#include "base/error.h"
#include "base/text.h"
#include "store/ledger/manifest_chain.h"

namespace weir::store {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kVersion = 1;
/// More than pgweir ever writes (a run is a line); guards against other files.
constexpr std::uint64_t kLargestMark = std::uint64_t{16} << 20;

std::optional<Mark> parse(const std::string& content) {
  const auto json = Json::parse(content, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  try {
    if (json.at("version").get<int>() != kVersion) return std::nullopt;
    Mark mark;
    mark.store = json.at("store").get<std::string>();
    const auto identifier =
        parse_number<std::uint64_t>(json.at("system_identifier").get_ref<const std::string&>());
    const auto size = wal::SegmentSize::of(json.at("segment_size").get<std::uint64_t>());
    if (!identifier || !size) return std::nullopt;
    mark.system_identifier = *identifier;
    mark.segment_size = *size;
    for (const auto& run : json.at("sent")) {
      const auto first = wal::SegmentName::parse(run.at(0).get_ref<const std::string&>());
      const auto last = wal::SegmentName::parse(run.at(1).get_ref<const std::string&>());
      if (!first || !last || !first->fits(*size) || !last->fits(*size) || *last < *first ||
          first->timeline() != last->timeline() ||
          (!mark.sent.empty() && *first <= mark.sent.back().last))
        return std::nullopt;
      mark.sent.push_back({*first, *last});
    }
    for (const auto& history : json.at("histories"))
      mark.add_history(history.get<wal::TimelineId>());
    mark.emptied = json.value("emptied", false);
    mark.next_store = json.value("next_store", std::string());
    return mark;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

std::optional<ManifestMemory> parse_manifest(const std::string& content) {
  const auto json = Json::parse(content, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  try {
    const auto& part = json.at("manifest");
    ManifestMemory memory{part.at("chain").get<std::string>(),
                          part.at("lines").get<std::uint64_t>(), part.at("head").get<std::string>(),
                          part.at("newest").get<std::vector<std::string>>(),
                          part.value("only_full", false)};
    // A manually changed one would be put into the store.
    if (memory.id.empty() || memory.tail.empty() || memory.tail.size() > memory.lines ||
        (memory.lines - memory.tail.size()) % kManifestLines != 0 ||
        memory.tail.size() > kManifestLines || hash_of_line(memory.tail.back()) != memory.head)
      return std::nullopt;
    return memory;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

std::optional<std::string> read_content(io::Shelf& archive) {
  const auto file = archive.open_bytes(std::string(kMarkName));
  if (!file) return std::nullopt;
  const auto size = file->size();
  if (size > kLargestMark) return std::nullopt;
  std::string content(size, '\0');
  content.resize(file->read_at(0, std::as_writable_bytes(std::span(content))));
  return content;
}

}  // namespace

namespace {

/// The conditions of parse(): it has to accept each file of keep_mark().
bool is_readable(const Mark& mark) {
  const Mark::Run* before = nullptr;
  for (const auto& run : mark.sent) {
    if (!run.first.fits(mark.segment_size) || !run.last.fits(mark.segment_size) ||
        run.last < run.first || run.first.timeline() != run.last.timeline() ||
        (before != nullptr && run.first <= before->last))
      return false;
    before = &run;
  }
  return true;
}

/// Likewise, for parse_manifest().
bool is_readable(const ManifestMemory& memory) {
  return !memory.id.empty() && !memory.tail.empty() && memory.tail.size() <= memory.lines &&
         (memory.lines - memory.tail.size()) % kManifestLines == 0 &&
         memory.tail.size() <= kManifestLines && hash_of_line(memory.tail.back()) == memory.head;
}

}  // namespace

bool Mark::has(wal::SegmentName segment) const {
  return std::any_of(sent.begin(), sent.end(),
                     [&](const Run& run) { return run.first <= segment && segment <= run.last; });
}

bool Mark::has_history(wal::TimelineId timeline) const {
  return std::binary_search(histories.begin(), histories.end(), timeline);
}

void Mark::add_history(wal::TimelineId timeline) {
  const auto at = std::lower_bound(histories.begin(), histories.end(), timeline);
  if (at == histories.end() || *at != timeline) histories.insert(at, timeline);
}

void Mark::remove(wal::SegmentName segment) {
  const auto at = std::find_if(sent.begin(), sent.end(), [&](const Run& run) {
    return run.first <= segment && segment <= run.last;
  });
  if (at == sent.end()) return;
  const auto segno = segment.segno(segment_size);
  const auto name = [&](std::uint64_t number) {
    return wal::SegmentName(segment.timeline(), number, segment_size);
  };
  const auto run = *at;
  auto rest = sent.erase(at);
  if (segment < run.last) rest = sent.insert(rest, {name(segno + 1), run.last});
  if (run.first < segment) sent.insert(rest, {run.first, name(segno - 1)});
  PGWEIR_CHECK(!has(segment));
}

void Mark::add(wal::SegmentName segment) {
  if (has(segment)) return;
  const auto behind =
      std::find_if(sent.begin(), sent.end(), [&](const Run& run) { return segment < run.first; });
  const auto touches = [&](wal::SegmentName one, wal::SegmentName next) {
    return one.timeline() == next.timeline() &&
           one.segno(segment_size) + 1 == next.segno(segment_size);
  };
  const bool before = behind != sent.begin() && touches(std::prev(behind)->last, segment);
  const bool after = behind != sent.end() && touches(segment, behind->first);
  if (before && after) {
    std::prev(behind)->last = behind->last;
    sent.erase(behind);
  } else if (before) {
    std::prev(behind)->last = segment;
  } else if (after) {
    behind->first = segment;
  } else {
    sent.insert(behind, {segment, segment});
  }
  PGWEIR_CHECK(has(segment));
}

std::optional<Mark> read_mark(io::Shelf& archive) {
  const auto content = read_content(archive);
  return content ? parse(*content) : std::nullopt;
}

std::optional<Mark> read_mark_for_removal(io::Shelf& archive) {
  const bool there = archive.find(std::string(kMarkName)).has_value();
  auto mark = read_mark(archive);
  if (there && !mark)
    throw Error(ErrorKind::damage, "the file of what was uploaded cannot be read")
        .with("path", archive.path_of(std::string(kMarkName)))
        .hint(
            "It is unknown which WAL is still to be uploaded, so nothing is pruned. Restart the "
            "receiver that uploads the archive, or run \"pgweir store push\": they write the file "
            "again. If the archive is no longer uploaded, remove the file.");
  return mark;
}

std::optional<std::uint64_t> cluster_of(io::Shelf& archive, const archive::Listing& listing) {
  if (const auto found = archive::read_identity(archive, listing)) return found->system_identifier;
  const auto mark = read_mark(archive);
  return mark ? std::optional(mark->system_identifier) : std::nullopt;
}

std::optional<wal::SegmentName> first_not_sent(const std::optional<Mark>& mark,
                                               const archive::Identity& cluster,
                                               const archive::Listing& listing) {
  const auto& size = cluster.segment_size;
  if (!mark || mark->segment_size != size || mark->system_identifier != cluster.system_identifier)
    return std::nullopt;
  std::optional<wal::SegmentName> first;
  for (const auto& entry : listing.segments) {
    const auto& segment = entry.name.segment;
    const bool sent = mark->next_store.empty() && mark->has(segment);
    if (entry.name.partial || !segment.fits(size) || sent) continue;
    if (!first || segment.segno(size) < first->segno(size)) first = segment;
  }
  return first;
}

std::optional<ManifestMemory> read_manifest_memory(io::Shelf& archive) {
  const auto content = read_content(archive);
  return content ? parse_manifest(*content) : std::nullopt;
}

std::optional<std::string> stored_head(const ManifestMemory& memory) {
  if (!memory.only_full || memory.tail.size() == kManifestLines) return memory.head;
  if (memory.lines == memory.tail.size()) return std::nullopt;
  const auto first = ManifestLine::parse(memory.tail.front());
  return first ? std::optional(first->before) : std::nullopt;
}

void keep_mark(archive::Home& home, const Mark& mark, const ManifestMemory& manifest) {
  PGWEIR_CHECK(is_readable(mark) && (manifest.lines == 0 || is_readable(manifest)));
  Json json;
  json["what"] =
      "The files of this archive that an object store has (\"pgweir store\"): the first and last "
      "segment of each contiguous range, and timeline histories.";
  json["if_this_file_is_lost"] =
      "No data is lost. The next \"pgweir store push\" lists the objects in the store, and "
      "starts a new manifest in addition to the existing one.";
  json["version"] = kVersion;
  json["store"] = mark.store;
  json["system_identifier"] = std::to_string(mark.system_identifier);
  json["segment_size"] = mark.segment_size.bytes();
  json["sent"] = Json::array();
  for (const auto& run : mark.sent)
    json["sent"].push_back({run.first.to_string(), run.last.to_string()});
  json["histories"] = mark.histories;
  if (mark.emptied) json["emptied"] = true;
  if (!mark.next_store.empty()) json["next_store"] = mark.next_store;
  if (manifest.lines > 0)
    json["manifest"] = {{"chain", manifest.id},
                        {"lines", manifest.lines},
                        {"head", manifest.head},
                        {"newest", manifest.tail}};
  if (manifest.lines > 0 && manifest.only_full) json["manifest"]["only_full"] = true;
  archive::publish_text(home,
                        {.name = std::string(kMarkName),
                         .replace = true,
                         .temporary = std::string(kMarkName) + ".tmp"},
                        json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::unique_ptr<io::File> try_lock_mark(io::Directory& archive) {
  return archive::try_lock_file(archive, std::string(kMarkLockName));
}

}  // namespace weir::store
