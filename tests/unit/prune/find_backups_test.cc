#include "prune/find_backups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>

#include "support/backup_builder.h"
#include "support/error_of.h"

namespace weir::prune::find_backups_test {
namespace {

using codec::Method;
using test::backup_label;
using test::backup_manifest;
using test::packed;
using test::tar;
using ::testing::HasSubstr;
using State = FoundBackup::State;

const wal::Lsn kStart(0x3000028);
const wal::Lsn kEnd(0x5000100);

/// By the path below the place.
std::map<std::string, FoundBackup> find_in(const test::TemporaryDirectory& place,
                                           std::vector<std::string> ignored = {}) {
  std::map<std::string, FoundBackup> found;
  for (auto& backup : find_backups({.searched = {place.path()}, .ignored = std::move(ignored)})) {
    const auto name = backup.path.substr(std::min(backup.path.size(), place.path().size() + 1));
    EXPECT_TRUE(found.emplace(name, backup).second) << name << " was found twice";
  }
  return found;
}

void write_plain(const test::TemporaryDirectory& place, const std::string& name) {
  place.write(name + "/backup_label", backup_label(kStart));
  place.write(name + "/PG_VERSION", "15\n");
  place.write(name + "/base/5/1259", "x");
  place.write(name + "/pg_wal/000000010000000000000003", "x");
}
void write_finished(const test::TemporaryDirectory& place, const std::string& name) {
  write_plain(place, name);
  place.write(name + "/global/pg_control", "12345678");
  place.write(name + "/backup_manifest", backup_manifest(kStart, kEnd));
}

TEST(FindBackups, FindsEachOfThemOnceAtAnyDepth) {
  const test::TemporaryDirectory place;
  write_finished(place, "plain");
  write_finished(place, "hosts/db1/2026/monday/data");
  place.write("tar/base.tar.gz",
              packed(Method::gzip, tar({{"backup_label", backup_label(kStart)}})));
  place.write("tar/16384.tar.gz", "a tablespace: not read");
  place.write("tar/pg_wal.tar.gz", "not read either");
  place.write("tar/backup_manifest", backup_manifest(kStart, kEnd));
  place.write("loose/tuesday.tar.zst",
              packed(Method::zstd, tar({{"backup_label", backup_label(kStart)}})));
  place.write("loose/etc.tar", tar({{"passwd", "root"}}));
  place.write("notes/readme.txt", "x");
  place.write("pg_wal/000000010000000000000003", "an archive beside the backups");
  place.write("lost+found/base.tar", "rubbish");
  place.write(".snapshot/plain/backup_label", "rubbish");
  std::filesystem::create_directory(place.path("empty"));
  std::filesystem::create_symlink("plain", place.path("latest"));
  std::filesystem::create_symlink("..", place.path("hosts/loop"));
  std::filesystem::create_symlink("nowhere", place.path("dangling"));
  const auto found = find_in(place);
  ASSERT_EQ(found.size(), 4u);
  for (const auto& [name, backup] : found) {
    SCOPED_TRACE(name);
    EXPECT_EQ(backup.state, State::finished) << backup.problem;
    ASSERT_TRUE(backup.point);
    EXPECT_EQ(backup.point->start, kStart);
    EXPECT_EQ(backup.vouched, !name.starts_with("loose"));
  }
  EXPECT_TRUE(found.contains("loose/tuesday.tar.zst"));
}

/// pg_basebackup --tablespace-mapping may have put them anywhere below the place.
TEST(FindBackups, TakesNoTablespaceForABackup) {
  const test::TemporaryDirectory place;
  write_finished(place, "monday");
  place.write("tablespaces_of_monday/fast/PG_15_202209061/16394/PG_VERSION", "15\n");
  place.write("tablespaces_of_monday/fast/PG_15_202209061/16394/16395", "x");
  EXPECT_EQ(find_in(place).size(), 1u);
  // Other names are searched.
  for (const auto* name : {"PG_15", "PG__202209061", "PG_15_", "PG_15_202209061x", "PG_x_1"})
    write_finished(place, std::string("below/") + name + "/data");
  EXPECT_EQ(find_in(place).size(), 6u);
}

TEST(FindBackups, TellsWhichAreNotFinished) {
  const test::TemporaryDirectory place;
  // As pg_basebackup goes: its WAL, the label, data, pg_control, manifest.
  place.write("1/pg_wal/000000010000000000000003", "x");
  write_plain(place, "2");
  write_plain(place, "3");
  place.write("3/global/pg_control", "12345678");
  place.write("3/backup_manifest.tmp", "{");
  place.write("4/pg_wal.tar.gz", "x");
  place.write("5/base.tar", tar({{"backup_label", backup_label(kStart)}}, false));
  place.write("5/backup_manifest.tmp", "{");
  place.write("6/PG_VERSION", "15\n");  // a copy whose label comes at the end
  const auto found = find_in(place);
  ASSERT_EQ(found.size(), 6u);
  for (const auto& [name, backup] : found) {
    SCOPED_TRACE(name);
    EXPECT_EQ(backup.state, State::unfinished);
    EXPECT_FALSE(backup.problem.empty());
    const bool has_label = name == "2" || name == "3" || name == "5";
    EXPECT_EQ(backup.point.has_value(), has_label);
  }
}

/// The manifest is beside it, and whole.
TEST(FindBackups, SeesATarFileThatIsCutOff) {
  const test::TemporaryDirectory place;
  const auto whole = tar({{"backup_label", backup_label(kStart)}, {"PG_VERSION", "15\n"}});
  const std::map<std::string, std::string> files = {
      {"empty/base.tar", ""},
      {"empty_gz/base.tar.gz", ""},
      {"before_label/base.tar.gz", packed(Method::gzip, whole).substr(0, 20)},
      {"in_the_end/base.tar", whole.substr(0, whole.size() - 512)},
      {"odd/base.tar", whole.substr(0, whole.size() - 1)},
      {"without_end/base.tar",
       tar({{"backup_label", backup_label(kStart)}, {"PG_VERSION", "15\n"}}, false)}};
  for (const auto& [file, content] : files) {
    place.write(file, content);
    place.write(file.substr(0, file.find('/')) + "/backup_manifest", backup_manifest(kStart, kEnd));
  }
  place.write("whole/base.tar", whole);
  place.write("whole/backup_manifest", backup_manifest(kStart, kEnd));
  const auto found = find_in(place);
  EXPECT_EQ(found.size(), files.size() + 1);
  for (const auto& [name, backup] : found) {
    SCOPED_TRACE(name);
    EXPECT_EQ(backup.state == State::finished, name == "whole") << backup.problem;
    EXPECT_EQ(backup.problem.empty(), name == "whole");
  }
}

TEST(FindBackups, LeavesItToTheWalWhetherOneWithoutAManifestIsFinished) {
  const test::TemporaryDirectory place;
  write_plain(place, "plain");
  place.write("plain/global/pg_control", "12345678");
  test::write_parts(place, "plain");
  place.write("tar/base.tar", tar({{"backup_label", backup_label(kStart)}}));
  for (const auto& [name, backup] : find_in(place)) {
    SCOPED_TRACE(name);
    EXPECT_EQ(backup.state, State::finished);
    EXPECT_FALSE(backup.vouched);
  }
}

/// A copy without a manifest may have broken off after pg_control.
TEST(FindBackups, DoubtsOneThatLacksWhatEachDataDirectoryHas) {
  for (const auto* const missing :
       {"base", "base/1", "global/pg_filenode.map", "pg_logical", "pg_multixact", "pg_tblspc",
        "pg_twophase", "pg_xact", "pg_xact/0000"}) {
    SCOPED_TRACE(missing);
    const test::TemporaryDirectory place;
    write_plain(place, "plain");
    place.write("plain/global/pg_control", "12345678");
    test::write_parts(place, "plain");
    std::filesystem::remove_all(place.path("plain") + "/" + missing);
    const auto found = find_in(place);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found.at("plain").state, State::unfinished);
    EXPECT_THAT(found.at("plain").problem, HasSubstr("which every server has"));
  }
}

/// What a copy has brought when it broke off: names in their order, so label and manifest first.
TEST(FindBackups, DoubtsACopyThatBrokeOff) {
  const test::TemporaryDirectory place;
  const auto copy = [&](const std::string& name, const std::map<std::string, std::string>& files) {
    place.write(name + "/backup_label", backup_label(kStart));
    place.write(name + "/backup_manifest",
                backup_manifest(kStart, kEnd, 1,
                                {{"backup_label", backup_label(kStart).size()},
                                 {"PG_VERSION", 3},
                                 {"base/5/1259", 8},
                                 {"postgresql.auto.conf", 88},
                                 {"global/pg_control", 8192}}));
    for (const auto& [file, content] : files) place.write(name + "/" + file, content);
  };
  const std::string control(8192, 'c');
  copy("whole",
       {{"PG_VERSION", "15\n"}, {"base/5/1259", "12345678"}, {"global/pg_control", control}});
  copy("no_control", {{"PG_VERSION", "15\n"}, {"base/5/1259", "12345678"}});
  copy("no_data_file", {{"PG_VERSION", "15\n"}, {"global/pg_control", control}});
  copy("short_file", {{"PG_VERSION", "15\n"}, {"base/5/1259", ""}, {"global/pg_control", control}});
  const auto found = find_in(place);
  ASSERT_EQ(found.size(), 4u);
  for (const auto& [name, backup] : found) {
    SCOPED_TRACE(name);
    const bool whole = name == "whole";
    EXPECT_EQ(backup.state, whole ? State::finished : State::unfinished) << backup.problem;
    ASSERT_TRUE(backup.point);
    EXPECT_EQ(backup.point->missing.has_value(), !whole);
  }
  EXPECT_THAT(found.at("no_control").problem, HasSubstr("global/pg_control is missing"));
  EXPECT_THAT(found.at("short_file").problem, HasSubstr("base/5/1259 has 0 bytes"));
}

/// rsync brings the manifest of a tar backup before base.tar, which has a hidden name meanwhile.
TEST(FindBackups, DoubtsWhatHasNoDataFilesUnlessItIsNamed) {
  const test::TemporaryDirectory place;
  place.write("tar/backup_manifest", backup_manifest(kStart, kEnd));
  place.write("tar/.base.tar.gz.Xy12ab", "the front of it");
  place.write("wal_only/backup_manifest", backup_manifest(kStart, kEnd));
  place.write("wal_only/pg_wal.tar", tar({{"000000010000000000000003", "x"}}));
  place.write("label/backup_label", backup_label(kStart));
  place.write("both/backup_label", backup_label(kStart));
  place.write("both/backup_manifest", backup_manifest(kStart, kEnd));
  for (const auto depth : {archive::Depth::names, archive::Depth::whole}) {
    const auto found = find_backups({.searched = {place.path()}, .depth = depth});
    EXPECT_EQ(found.size(), 4u);
    for (const auto& backup : found) {
      SCOPED_TRACE(backup.path);
      EXPECT_EQ(backup.state, State::unfinished);
      EXPECT_EQ(backup.problem, "its data files do not exist here");
      ASSERT_TRUE(backup.point);
      EXPECT_EQ(backup.point->start, kStart);
    }
  }
  // Who names one knows that its data is elsewhere.
  for (const auto& places : {Places{.named = {place.path("both")}},
                             Places{.searched = {place.path("both/backup_manifest")}},
                             Places{.searched = {place.path("label/backup_label")}}}) {
    const auto named = find_backups(places);
    ASSERT_EQ(named.size(), 1u);
    EXPECT_EQ(named[0].state, State::finished) << named[0].problem;
  }
}

TEST(FindBackups, DoubtsWhatLacksATablespace) {
  const test::TemporaryDirectory place;
  const auto label = backup_label(kStart);
  const auto base = tar({{"backup_label", label},
                         {"tablespace_map", "16399 /srv/fast\n16400 /srv/slow\n"},
                         {"PG_VERSION", "15\n"}});
  const auto table = tar({{"PG_15_202209061/5/16401", "rows"}});
  for (const auto* const name : {"tar", "tar_without_one", "tar_cut_off"}) {
    place.write(std::string(name) + "/base.tar", base);
    place.write(std::string(name) + "/16399.tar", table);
  }
  place.write("tar/16400.tar.gz", packed(Method::gzip, table));
  place.write("tar_cut_off/16400.tar.gz", packed(Method::gzip, table).substr(0, 40));
  for (const auto* const name : {"plain", "plain_without"}) {
    write_finished(place, name);
    std::filesystem::create_directory(place.path(std::string(name) + "/pg_tblspc"));
  }
  std::filesystem::create_directory(place.path("fast"));
  std::filesystem::create_symlink(place.path("fast"), place.path("plain/pg_tblspc/16399"));
  std::filesystem::create_symlink(place.path("slow"), place.path("plain_without/pg_tblspc/16399"));
  for (const auto& [name, backup] : find_in(place)) {
    SCOPED_TRACE(name);
    const bool whole = name == "tar" || name == "plain";
    EXPECT_EQ(backup.state, whole ? State::finished : State::unfinished) << backup.problem;
    const auto* const lacks = name == "plain_without" ? "16399" : "16400";
    EXPECT_EQ(backup.problem.find(lacks) != std::string::npos, !whole) << backup.problem;
  }
}

/// pg_basebackup -F t, killed while it waited for the archive: without its manifest.
TEST(FindBackups, ReadsATarFileWithoutAManifestToItsEnd) {
  const test::TemporaryDirectory place;
  const auto whole = tar({{"backup_label", backup_label(kStart)},
                          {"PG_VERSION", "15\n"},
                          {"global/pg_control", std::string(8192, '\0')}});
  // Within pg_control, which ends with zeros: at its end there are two blocks of them.
  const auto cut = whole.substr(0, whole.size() - 1024 - 4096);
  ASSERT_EQ(cut.substr(cut.size() - 1024), std::string(1024, '\0'));
  place.write("raw/base.tar", whole);
  place.write("raw_cut/base.tar", cut);
  place.write("gz/base.tar.gz", packed(Method::gzip, whole));
  const auto gz = packed(Method::gzip, whole);
  place.write("gz_cut/base.tar.gz", gz.substr(0, gz.size() - 20));
  place.write("zst_of_cut/base.tar.zst", packed(Method::zstd, cut));
  for (const auto& [name, backup] : find_in(place)) {
    SCOPED_TRACE(name);
    EXPECT_EQ(backup.state,
              name.find("cut") == std::string::npos ? State::finished : State::unfinished)
        << backup.problem;
  }
}

/// What pg_basebackup -F t is writing, or wrote until it was killed, has no manifest.
TEST(FindBackups, TakesNoTarFileWithoutAManifestOnTrustByItsName) {
  const test::TemporaryDirectory place;
  const auto put = [&](const std::string& name, const std::string& content) {
    place.write(name, content);
    if (name.starts_with("manifest"))
      place.write(name.substr(0, name.find('/')) + "/backup_manifest",
                  backup_manifest(kStart, kEnd));
  };
  const auto whole = tar({{"backup_label", backup_label(kStart)},
                          {"tablespace_map", "16399 /srv/fast\n"},
                          {"PG_VERSION", "15\n"},
                          {"global/pg_control", std::string(8192, '\0')}});
  const auto cut = whole.substr(0, whole.size() - 1024 - 4096);
  const auto table = tar({{"PG_15_202209061/5/16401", "rows"}});
  put("raw/base.tar", whole);
  put("raw/16399.tar", table);
  put("raw_cut/base.tar", cut);
  put("raw_cut/16399.tar", table);
  put("no_tablespace/base.tar", whole);
  put("cut_tablespace/base.tar", whole);
  put("cut_tablespace/16399.tar", table.substr(0, table.size() - 512));
  put("gz_tablespace/base.tar", whole);
  put("gz_tablespace/16399.tar.gz", packed(Method::gzip, table));
  put("gz/base.tar.gz", packed(Method::gzip, whole));
  put("manifest_gz/base.tar.gz", packed(Method::gzip, whole));
  put("manifest_raw/base.tar", whole);
  const std::map<std::string, std::string> problems = {
      {"raw", ""},
      {"raw_cut", "raw_cut/base.tar is incomplete or truncated"},
      {"no_tablespace", "the tar file of its tablespace 16399 is missing"},
      {"cut_tablespace", "16399.tar is incomplete or truncated"},
      {"gz_tablespace", "16399.tar.gz is compressed and has no backup_manifest next to it"},
      {"gz", "base.tar.gz is compressed and has no backup_manifest next to it"},
      {"manifest_gz", ""},
      {"manifest_raw", ""},
  };
  const auto found = find_backups({.searched = {place.path()}, .depth = archive::Depth::names});
  EXPECT_EQ(found.size(), problems.size());
  for (const auto& backup : found) {
    SCOPED_TRACE(backup.path);
    const auto& problem = problems.at(backup.path.substr(place.path().size() + 1));
    EXPECT_EQ(backup.state, problem.empty() ? State::finished : State::unfinished)
        << backup.problem;
    EXPECT_EQ(backup.problem.empty(), problem.empty());
    EXPECT_THAT(backup.problem, HasSubstr(problem));
    EXPECT_TRUE(backup.point);
  }
  // Who names one has it read.
  const auto named =
      find_backups({.searched = {place.path("gz/base.tar.gz")}, .depth = archive::Depth::names});
  ASSERT_EQ(named.size(), 1u);
  EXPECT_THAT(named[0].problem, HasSubstr("tablespace 16399 is missing"));
}

/// It is consistent where its pg_control says, and its WAL has to be sound up to there.
TEST(FindBackups, TakesTheEndOfAStandbysBackupFromItsControlFile) {
  for (const std::uint32_t version : {1300u, 1700u, 1800u, 1905u}) {
    SCOPED_TRACE(version);
    const test::TemporaryDirectory place;
    auto label = backup_label(kStart);
    label.replace(label.find("FROM: primary"), 13, "FROM: standby");
    const auto control = test::control_file(7, kEnd, version);
    place.write("plain/backup_label", label);
    place.write("plain/PG_VERSION", "15\n");
    place.write("plain/global/pg_control", control);
    test::write_parts(place, "plain");
    place.write("tar/base.tar", tar({{"backup_label", label}, {"global/pg_control", control}}));
    for (const auto& [name, backup] : find_in(place)) {
      SCOPED_TRACE(name);
      ASSERT_TRUE(backup.point && backup.point->end);
      EXPECT_EQ(*backup.point->end, kEnd);
      EXPECT_TRUE(backup.vouched);
    }
  }
}

/// Two clusters that were created alike have labels and manifests that are alike.
TEST(FindBackups, TellsTheClusterOfATarBackupByItsControlFile) {
  const test::TemporaryDirectory place;
  const auto put = [&](const std::string& name, std::uint64_t identifier, Method method) {
    const auto text = tar({{"backup_label", backup_label(kStart)},
                           {"base/5/1259", std::string(3 << 20, 'x')},
                           {"global/pg_control", test::control_file(identifier)}});
    place.write(name + (method == Method::none ? "/base.tar" : "/base.tar.gz"),
                packed(method, text));
    place.write(name + "/backup_manifest", backup_manifest(kStart, kEnd));
  };
  put("own", 4711, Method::none);
  put("own_gz", 4711, Method::gzip);
  put("other", 4712, Method::none);
  put("other_gz", 4712, Method::gzip);
  const auto found = find_in(place);
  ASSERT_EQ(found.size(), 4u);
  for (const auto& [name, backup] : found) {
    SCOPED_TRACE(name);
    EXPECT_EQ(backup.state, State::finished) << backup.problem;
    ASSERT_TRUE(backup.point);
    EXPECT_EQ(backup.point->system_identifier, name.ends_with("_gz")     ? 0u
                                               : name.starts_with("own") ? 4711u
                                                                         : 4712u);
  }
}

TEST(FindBackups, NamesWhatItCannotRead) {
  const test::TemporaryDirectory place;
  write_finished(place, "sound");
  write_finished(place, "cut");
  place.write("cut/backup_manifest", "{ \"PostgreSQL-Backup");
  write_finished(place, "mixed");
  place.write("mixed/backup_label", backup_label(wal::Lsn(0x4000028)));
  place.write("tar/base.tar.gz", "rubbish");
  place.write("loose.tar", std::string(600, 'r'));
  place.write("closed/backup_label", backup_label(kStart));
  const bool root = ::geteuid() == 0;
  ::chmod(place.path("closed").c_str(), 0);
  const auto found = find_in(place);
  const auto fewer =
      find_in(place, {place.path("cut"), place.path() + "/./tar/", place.path("loose.tar"),
                      place.path("mixed"), place.path("closed"), place.path("is not there")});
  ::chmod(place.path("closed").c_str(), 0700);
  ASSERT_EQ(found.size(), 6u);
  for (const auto& [name, backup] : found) {
    SCOPED_TRACE(name);
    if (name == "closed" && root) continue;
    EXPECT_EQ(backup.state, name == "sound" ? State::finished : State::unreadable);
    EXPECT_EQ(backup.point.has_value(), name == "sound");
    EXPECT_EQ(backup.problem.empty(), name == "sound");
  }
  ASSERT_EQ(fewer.size(), 1u);
  EXPECT_TRUE(fewer.contains("sound"));
}

TEST(FindBackups, TakesWhatIsNamedForABackup) {
  const test::TemporaryDirectory place;
  write_plain(place, "plain");  // without a manifest: who names it vouches for it
  place.write("plain/global/pg_control", "12345678");
  test::write_parts(place, "plain");
  const auto found = find_backups(
      {.named = {place.path("plain"), place.path("plain/../plain")}, .searched = {place.path()}});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].state, State::finished);
  EXPECT_TRUE(found[0].vouched);
  // A place may be a backup itself, or its label.
  EXPECT_EQ(find_backups({.searched = {place.path("plain")}}).size(), 1u);
  const auto label = find_backups({.searched = {place.path("plain/backup_label")}});
  ASSERT_EQ(label.size(), 1u);
  EXPECT_TRUE(label[0].vouched);

  for (const auto& places :
       {Places{.named = {place.path("none")}}, Places{.searched = {place.path("none")}}}) {
    const auto error = test::error_of([&] { static_cast<void>(find_backups(places)); });
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_FALSE(error.hint().empty());
  }
}

}  // namespace
}  // namespace weir::prune::find_backups_test
