#include "archive/kept_slots.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "archive/lock_file.h"
#include "archive/record_file.h"
#include "base/error.h"

namespace weir::archive {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kSlotsVersion = 1;
/// More than the relay ever writes; larger files come from another program.
constexpr std::uint64_t kLargest = std::uint64_t{4} << 20;

struct Unreadable {};

const Json& member(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end()) throw Unreadable{};
  return *found;
}

std::string text(const Json& json, const char* key) {
  const auto& value = member(json, key);
  if (!value.is_string()) throw Unreadable{};
  return value.get<std::string>();
}

std::uint64_t number(const Json& json, const char* key) {
  const auto& value = member(json, key);
  if (!value.is_number_unsigned()) throw Unreadable{};
  return value.get<std::uint64_t>();
}

KeptSlot read_slot(const Json& json) {
  if (!json.is_object()) throw Unreadable{};
  KeptSlot slot;
  slot.name = text(json, "name");
  const auto lsn = wal::Lsn::parse(text(json, "restart_lsn"));
  if (slot.name.empty() || !lsn) throw Unreadable{};
  slot.restart_lsn = *lsn;
  slot.xmin = number(json, "xmin");
  slot.catalog_xmin = number(json, "catalog_xmin");
  const auto& lost = member(json, "lost");
  if (!lost.is_boolean()) throw Unreadable{};
  slot.lost = lost.get<bool>();
  slot.created = text(json, "created");
  slot.inactive_since = text(json, "inactive_since");
  return slot;
}

KeptSlots parse(const std::string& content) {
  const auto json = Json::parse(content, nullptr, false);
  if (!json.is_object() || number(json, "version") != kSlotsVersion) throw Unreadable{};
  KeptSlots all;
  all.system_identifier = number(json, "system_identifier");
  const auto& slots = member(json, "slots");
  if (!slots.is_array()) throw Unreadable{};
  for (const auto& slot : slots) all.slots.push_back(read_slot(slot));
  return all;
}

Error damaged(io::Shelf& archive) {
  return Error(ErrorKind::damage, "the file of the relay's slots cannot be read")
      .with("path", archive.path_of(std::string(kSlotsName)))
      .hint(
          "It is unknown which WAL its slots retain, so nothing is pruned and no slot can be used. "
          "Restore the file from a backup, or remove it: each standby that had a slot then needs a "
          "new one.");
}

}  // namespace

std::optional<KeptSlots> read_slots(io::Shelf& archive) {
  const std::string name(kSlotsName);
  auto content = read_record_file(archive, name, kLargest);
  if (!content && archive.find(name)) {
    // It was written just now, or is a symbolic link without a target.
    content = read_record_file(archive, name, kLargest);
    if (!content) throw damaged(archive);
  }
  if (!content) return std::nullopt;
  try {
    return parse(*content);
  } catch (const Unreadable&) {
    throw damaged(archive);
  }
}

void keep_slots(Home& home, const KeptSlots& slots) {
  Json json;
  json["what"] =
      "Replication slots of \"pgweir serve\". \"pgweir prune\" does not remove the WAL that they "
      "retain. \"pgweir slot list -D\" and \"pgweir slot drop -D\" list and drop them.";
  json["if_this_file_is_lost"] =
      "No WAL is lost with this file. Standbys that use a slot are rejected until the slot is "
      "created again, and \"pgweir prune\" may remove WAL that they need.";
  json["version"] = kSlotsVersion;
  json["system_identifier"] = slots.system_identifier;
  json["slots"] = Json::array();
  for (const auto& slot : slots.slots) {
    Json one;
    one["name"] = slot.name;
    one["restart_lsn"] = slot.restart_lsn.to_string();
    one["xmin"] = slot.xmin;
    one["catalog_xmin"] = slot.catalog_xmin;
    one["lost"] = slot.lost;
    one["created"] = slot.created;
    one["inactive_since"] = slot.inactive_since;
    json["slots"].push_back(std::move(one));
  }
  publish_text(home,
               {.name = std::string(kSlotsName),
                .replace = true,
                .temporary = std::string(kSlotsName) + ".tmp"},
               text_of_record_file(json));
}

std::unique_ptr<SlotsLock> SlotsLock::take(io::Directory& archive) {
  auto file = try_lock_file(archive, std::string(kSlotsLockName));
  if (!file) return nullptr;
  return std::unique_ptr<SlotsLock>(new SlotsLock(std::move(file)));
}

}  // namespace weir::archive
