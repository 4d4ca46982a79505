#include "archive/stored_begin.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "archive/home.h"
#include "archive/own_names.h"
#include "archive/record_file.h"

namespace weir::archive {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kStoredBeginVersion = 1;

void keep(io::Directory& archive, wal::Lsn begin) {
  Json json;
  json["what"] =
      "The object store has the WAL of this archive from \"begin\" on; --local-retention removed "
      "the oldest segments here. A recorded loss after \"begin\" is therefore still reported.";
  json["if_this_file_is_lost"] =
      "No WAL is lost. Losses that precede the local segments are no longer reported for this "
      "directory, only for the store.";
  json["version"] = kStoredBeginVersion;
  json["begin"] = begin.to_string();
  DirectoryHome home(archive);
  publish_text(
      home,
      {.name = std::string(kStoredBeginName), .replace = true, .writers = Home::Writers::many},
      text_of_record_file(json));
}

/// nullopt if there is no record.
std::optional<wal::Lsn> read(io::Shelf& archive) {
  const auto text = read_record_file(archive, std::string(kStoredBeginName));
  if (!text) return std::nullopt;
  const auto json = Json::parse(*text, nullptr, false);
  return wal::Lsn::parse(text_in(json, "begin")).value_or(wal::Lsn());
}

}  // namespace

std::optional<wal::Lsn> read_stored_begin(io::Shelf& archive, const Listing& listing) {
  const auto& hidden = listing.hidden;
  if (std::find(hidden.begin(), hidden.end(), kStoredBeginName) == hidden.end())
    return std::nullopt;
  return read(archive);
}

void extend_stored_begin(io::Directory& archive, wal::Lsn begin) {
  const auto known = read(archive);
  if (!known || begin < *known) keep(archive, begin);
}

void correct_stored_begin(io::Directory& archive, wal::Lsn begin) {
  const auto known = read(archive);
  if (known && *known != begin) keep(archive, begin);
}

}  // namespace weir::archive
