#include "store/cluster_record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>

#include "archive/identity.h"
#include "archive/listing.h"
#include "base/error.h"
#include "base/text.h"
#include "base/units.h"
#include "store/digests.h"
#include "store/memory_bytes.h"
#include "store/near_shelf.h"

namespace weir::store {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kName = "pgweir.json";
constexpr int kVersion = 1;
constexpr std::uint64_t kLargest = 64 * 1024;

std::optional<ClusterRecord> parse(const std::string& text) {
  const auto json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  try {
    const auto identifier =
        parse_number<std::uint64_t>(json.at("system_identifier").get_ref<const std::string&>());
    const auto size = wal::SegmentSize::of(json.at("segment_size").get<std::uint64_t>());
    const auto form = json.at("layout").get<std::string>();
    if (json.at("version").get<int>() != kVersion || !identifier || !size) return std::nullopt;
    if (form != "barman" && form != "wal-g") return std::nullopt;
    return ClusterRecord{*identifier, *size,
                         form == "barman" ? Layout::Form::barman : Layout::Form::wal_g};
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

std::string to_text(const ClusterRecord& record) {
  Json json;
  json["what"] = "Whose WAL lies here (pgweir).";
  json["version"] = kVersion;
  // As text: many readers of JSON have no such numbers.
  json["system_identifier"] = std::to_string(record.system_identifier);
  json["segment_size"] = record.segment_size.bytes();
  json["layout"] = std::string(to_string(record.layout));
  return json.dump(2) + "\n";
}

Error another_cluster(ObjectStore& store, const std::string& key, const ClusterRecord& ours,
                      const std::optional<archive::Identity>& there) {
  return Error(ErrorKind::conflict, "the store holds the WAL of another cluster at this place")
      .with("object", store.name_of(key))
      .with("system identifier there", there ? there->system_identifier : 0)
      .with("here", ours.system_identifier)
      .with("segment size there", there ? format_size(there->segment_size.bytes()) : "unknown")
      .with("here", format_size(ours.segment_size.bytes()))
      .hint(
          "Nothing was sent. Give each cluster a place of its own: another prefix in --store, or "
          "another --store-name.");
}

/// Barman or WAL-G may have filled the place before pgweir came to it: then the newest segment that
/// can be read tells whose WAL it is, as in a directory.
void require_that_wal_is_ours(ObjectStore& store, const Layout& layout, const ClusterRecord& ours) {
  NearShelf shelf([&]() -> ObjectStore& { return store; }, store.name_of(layout.wal_prefix()),
                  layout, kOnce, 1);
  const auto listing = archive::list_archive_names(shelf);
  if (listing.segments.empty()) return;
  std::optional<archive::Identity> there;
  try {
    there = archive::read_identity(shelf, listing);
  } catch (const Error& error) {
    // No file has a sound page header: what is sent is compared with what is there, as ever.
    if (error.kind() == ErrorKind::damage) return;
    if (error.kind() != ErrorKind::refused) throw;
    throw Error(ErrorKind::conflict, "whose WAL lies at this place of the store cannot be told")
        .with("object", store.name_of(layout.own_key(kName)))
        .with("reason", error.message())
        .hint(
            "Nothing was sent. WAL is there, and the object that says of which cluster it is has "
            "gone. Bring that object back, or use another --store-name.");
  }
  if (there && there->system_identifier == ours.system_identifier &&
      there->segment_size == ours.segment_size)
    return;
  throw another_cluster(store, there ? layout.wal_prefix() + there->file : layout.wal_prefix(),
                        ours, there);
}

}  // namespace

std::optional<ClusterRecord> read_cluster(ObjectStore& store, const Layout& layout) {
  const auto key = layout.own_key(kName);
  const auto text = get_text(store, key, kLargest);
  if (!text) return std::nullopt;
  if (auto record = parse(*text)) return record;
  throw Error(ErrorKind::damage, "the record of whose WAL lies in the store cannot be read")
      .with("object", store.name_of(key))
      .hint(
          "Another version of pgweir, or another program, wrote it. If you know that the WAL there "
          "is this cluster's, remove the object: it is written again.");
}

void require_same_cluster(ObjectStore& store, const Layout& layout, Conditions conditions,
                          const ClusterRecord& ours) {
  auto found = read_cluster(store, layout);
  if (!found) {
    require_that_wal_is_ours(store, layout, ours);
    const auto text = to_text(ours);
    MemoryBytes bytes(std::as_bytes(std::span(text)));
    if (put_once(store, conditions, layout.own_key(kName), content_of(bytes)) ==
        ObjectStore::Put::stored)
      return;
    found = read_cluster(store, layout);  // somebody was quicker
  }
  if (found && found->system_identifier == ours.system_identifier &&
      found->segment_size == ours.segment_size)
    return;
  throw another_cluster(
      store, layout.own_key(kName), ours,
      found ? std::optional(archive::Identity{found->system_identifier, found->segment_size, kName})
            : std::nullopt);
}

}  // namespace weir::store
