#include "archive/last_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>

#include "archive/identity.h"
#include "archive/own_names.h"
#include "archive/record_file.h"
#include "base/units.h"
#include "io/place.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "wal/pg_time.h"

namespace weir::archive {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kLastCheckVersion = 1;
constexpr std::size_t kLongestProblem = 400;
/// As the archive's other records: readable by the receiver if another user runs the check.
constexpr unsigned kLastCheckMode = 0644;

/// A copy of the directory has another one, and its files were not checked. (The device's number
/// may change with a restart, and with FUSE the inode as well.) 0: unknown.
std::uint64_t inode_of(io::Shelf& shelf) {
  const auto identity = io::identity_of_directory(shelf);
  return identity ? identity->inode : 0;
}

/// In the record; "none" is also what a record of an earlier version means.
constexpr const char* kBeside[] = {"none", "archive", "store"};

const char* text_of(LastCheck::Beside beside) { return kBeside[static_cast<std::size_t>(beside)]; }

LastCheck::Beside beside_of(const std::string& text) {
  using Beside = LastCheck::Beside;
  for (const auto beside : {Beside::archive, Beside::store})
    if (text == text_of(beside)) return beside;
  return Beside::none;
}

std::string name_of(LastCheck::Kind kind) {
  return std::string(kind == LastCheck::Kind::verify ? kLastVerifyName : kLastDrillName);
}

}  // namespace

std::string LastCheck::range() const {
  if (!to.valid()) return {};
  return fmt::format("{}{}{}", from.valid() ? fmt::format("{} to ", from) : "up to ", to,
                     timeline != 0 ? fmt::format(" on timeline {}", timeline) : "");
}

void keep_last_check(const std::string& directory, LastCheck::Kind kind, const LastCheck& check) {
  const auto opened = io::open_existing_directory(directory);
  require_not_a_server_directory(*opened);
  auto beside = check.beside;
  const auto earlier = read_last_check(*opened, kind);
  if (earlier && earlier->passed) {
    const bool verification = kind == LastCheck::Kind::verify;
    if (verification && check.passed && !check.whole && earlier->whole) return;
  } else if (earlier) {
    if (check.passed && (!check.whole || check.beside < earlier->beside)) return;
    // What the earlier one found there is not known to be gone.
    if (!check.passed) beside = std::max(beside, earlier->beside);
  }
  io::require_writable(directory);
  Json json;
  json["what"] = kind == LastCheck::Kind::verify
                     ? "What the last \"pgweir verify\" of this archive found."
                     : "What the last \"pgweir drill\" of this archive found.";
  json["version"] = kLastCheckVersion;
  json["directory_inode"] = inode_of(*opened);
  json["time"] = format_time(check.time);
  json["passed"] = check.passed;
  json["whole"] = check.whole;
  json["beside"] = text_of(beside);
  json["timeline"] = check.timeline;
  json["from"] = check.from.to_string();
  json["to"] = check.to.to_string();
  json["problems"] = check.problems;
  json["problem"] = check.problem.substr(0, kLongestProblem);
  json["backup"] = check.backup;
  io::replace_small_file(fmt::format("{}/{}", directory, name_of(kind)), text_of_record_file(json),
                         kLastCheckMode);
}

std::optional<LastCheck> read_last_check(io::Shelf& shelf, LastCheck::Kind kind) {
  const auto text = read_record_file(shelf, name_of(kind));
  if (!text) return std::nullopt;
  const auto json = Json::parse(*text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  try {
    if (json.at("version").get<int>() != kLastCheckVersion) return std::nullopt;
    const bool passed = json.at("passed").get<bool>();
    // A failure counts: a copy has the same damage.
    if (passed && json.at("directory_inode").get<std::uint64_t>() != inode_of(shelf))
      return std::nullopt;
    const auto time = wal::PgTime::parse(json.at("time").get<std::string>());
    const auto from = wal::Lsn::parse(json.at("from").get<std::string>());
    const auto to = wal::Lsn::parse(json.at("to").get<std::string>());
    if (!time || !from || !to) return std::nullopt;
    return LastCheck{.time = time->system_time(),
                     .passed = passed,
                     .whole = json.at("whole").get<bool>(),
                     .beside = beside_of(json.value("beside", std::string())),
                     .timeline = json.at("timeline").get<wal::TimelineId>(),
                     .from = *from,
                     .to = *to,
                     .problems = json.at("problems").get<std::uint64_t>(),
                     .problem = json.at("problem").get<std::string>(),
                     .backup = json.at("backup").get<std::string>()};
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

}  // namespace weir::archive
