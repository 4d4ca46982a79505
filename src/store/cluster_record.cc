#include "store/cluster_record.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>

#include "base/error.h"
#include "base/text.h"
#include "store/digests.h"
#include "store/memory_bytes.h"

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
  json["what"] = "The cluster whose WAL is stored at this prefix (pgweir).";
  json["version"] = kVersion;
  // As text: many JSON parsers cannot represent such numbers.
  json["system_identifier"] = std::to_string(record.system_identifier);
  json["segment_size"] = record.segment_size.bytes();
  json["layout"] = std::string(to_string(record.layout));
  return json.dump(2) + "\n";
}

}  // namespace

std::string key_of_cluster(const Layout& layout) { return layout.own_key(kName); }

std::optional<ClusterRecord> read_cluster(ObjectStore& store, const Layout& layout) {
  const auto key = key_of_cluster(layout);
  const auto text = get_text(store, key, kLargest);
  if (!text) return std::nullopt;
  if (auto record = parse(*text)) return record;
  throw Error(ErrorKind::damage, "the store's cluster record cannot be read")
      .with("object", store.name_of(key))
      .hint(
          "Another version of pgweir, or another program, wrote it. If the WAL at this prefix "
          "belongs to this cluster, remove the object: it is recreated.");
}

ObjectStore::Put write_cluster(ObjectStore& store, const Layout& layout, Conditions conditions,
                               const ClusterRecord& ours) {
  const auto text = to_text(ours);
  MemoryBytes bytes(std::as_bytes(std::span(text)));
  return put_once(store, conditions, key_of_cluster(layout), content_of(bytes));
}

}  // namespace weir::store
