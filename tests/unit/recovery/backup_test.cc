#include "recovery/backup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/error.h"
#include "support/backup_builder.h"
#include "support/error_of.h"

namespace weir::recovery::backup_test {
namespace {

namespace fs = std::filesystem;
using test::backup_label;
using test::error_of;
using test::tar;
using test::TarEntry;
using test::TemporaryDirectory;
using ::testing::HasSubstr;

const wal::Lsn kStart(0x3000028);

/// A place to bring a backup into.
struct Sandbox {
  explicit Sandbox(const std::string& path) : path_(path) {}
  [[nodiscard]] std::string data() const { return path_ + "/sandbox/data"; }
  [[nodiscard]] std::string tablespace(const std::string& oid) const {
    return path_ + "/sandbox/tablespaces/" + oid;
  }
  [[nodiscard]] Layout layout() const {
    return {.data = data(),
            .tablespace = [this](const std::string& oid) { return tablespace(oid); }};
  }
  std::string path_;
};

/// A place for the backup, and one to bring it into.
struct Scene {
  TemporaryDirectory place;
  TemporaryDirectory sandboxes;
  Sandbox sandbox{sandboxes.path()};

  std::string put_tar(std::vector<TarEntry> entries, bool finished = true) {
    entries.insert(entries.begin(), {"backup_label", backup_label(kStart)});
    return place.write("base.tar", tar(entries, finished));
  }
  void put_plain() {
    place.write("backup_label", backup_label(kStart));
    place.write("PG_VERSION", "15\n");
    place.write("base/5/1259", "content");
  }
  Brought bring_it(const std::string& path) {
    return bring(open_backup(path), sandbox.layout(), [] { return false; });
  }
  [[nodiscard]] bool has(const std::string& name) const {
    return fs::exists(sandbox.data() + "/" + name);
  }
};

TEST(BroughtBackup, LeavesOutWhatSaysHowAServerRuns) {
  for (const bool packed : {false, true}) {
    SCOPED_TRACE(packed);
    Scene scene;
    std::string path = scene.place.path();
    if (packed) {
      path = scene.put_tar({{"PG_VERSION", "15\n"},
                            {"./base/5/1259", "content"},
                            {"postgresql.auto.conf", "archive_command = 'rm'"},
                            {"postmaster.pid", "1"},
                            {"pg_replslot/one/state", "x"},
                            {"pg_wal", "", '2'},
                            {"pg_tblspc/16385", "", '2'}});
    } else {
      scene.put_plain();
      scene.place.write("postgresql.auto.conf", "archive_command = 'rm'");
      scene.place.write("postmaster.pid", "1");
      scene.place.write("pg_replslot/one/state", "x");
    }
    scene.bring_it(path);
    EXPECT_TRUE(scene.has("base/5/1259"));
    EXPECT_TRUE(fs::is_directory(scene.sandbox.data() + "/pg_wal"));
    EXPECT_TRUE(fs::is_empty(scene.sandbox.data() + "/pg_replslot"));
    for (const char* const none : {"postgresql.auto.conf", "postmaster.pid", "pg_tblspc/16385"})
      EXPECT_FALSE(scene.has(none)) << none;
  }
}

TEST(BroughtBackup, RefusesATarFileWithWhatNoBackupHas) {
  const struct {
    TarEntry entry;
    const char* what;
  } cases[] = {
      {{"base/link", "", '2'}, "unexpected entry in the tar file"},
      {{"base/device", "", '3'}, "unexpected entry in the tar file"},
      {{"../outside", "x"}, "a path in the tar file points outside the backup"},
      {{"base/../../outside", "x"}, "a path in the tar file points outside the backup"},
      {{"/etc/outside", "x"}, "a path in the tar file points outside the backup"},
  };
  for (const auto& [entry, what] : cases) {
    SCOPED_TRACE(entry.name);
    Scene scene;
    const auto path = scene.put_tar({{"PG_VERSION", "15\n"}, entry});
    const auto error = error_of([&] { scene.bring_it(path); });
    EXPECT_EQ(error.kind(), ErrorKind::damage);
    EXPECT_THAT(error.what(), HasSubstr(what));
    EXPECT_THAT(error.what(), HasSubstr(entry.name));
    EXPECT_FALSE(fs::exists(scene.sandboxes.path("outside")));
  }
}

TEST(BroughtBackup, RefusesWhatIsCutOffOrLacksATablespace) {
  Scene scene;
  auto path = scene.put_tar({{"PG_VERSION", "15\n"}}, false);
  EXPECT_THAT(error_of([&] { scene.bring_it(path); }).what(), HasSubstr("is truncated"));

  Scene packed;
  path = packed.put_tar({{"tablespace_map", "16385 /srv/fast\n"}});
  auto error = error_of([&] { packed.bring_it(path); });
  EXPECT_EQ(error.kind(), ErrorKind::damage);
  EXPECT_THAT(error.what(), HasSubstr("the backup lacks a tablespace"));

  Scene plain;
  plain.put_plain();
  fs::create_directory(plain.place.path("pg_tblspc"));
  fs::create_directory_symlink("/nowhere", plain.place.path("pg_tblspc/16385"));
  error = error_of([&] { plain.bring_it(plain.place.path()); });
  EXPECT_EQ(error.kind(), ErrorKind::damage);
  EXPECT_THAT(error.what(), HasSubstr("the backup lacks a tablespace"));
}

/// As of a base.tar that was unpacked, or copied manually with the files that pg_backup_stop()
/// returned. Without the links the recovered server would lack the tablespaces.
TEST(BroughtBackup, HasALinkForEachTablespaceOfItsMap) {
  Scene scene;
  scene.put_plain();
  scene.place.write("tablespace_map", "16385 /srv/fast\n16386 /srv/a\\\nb\n");
  const auto refused = [&](const char* oid) {
    const auto error = error_of([&] { static_cast<void>(open_backup(scene.place.path())); });
    EXPECT_EQ(error.kind(), ErrorKind::conflict);
    EXPECT_THAT(error.what(), HasSubstr("pg_tblspc has no link to its files"));
    EXPECT_THAT(error.what(), HasSubstr(oid));
    EXPECT_THAT(error.hint(), HasSubstr("symbolic link"));
  };
  refused("16385");
  const TemporaryDirectory fast;
  fast.write("PG_15_202209061/1/2", "content");
  fs::create_directory(scene.place.path("pg_tblspc"));
  fs::create_directory_symlink(fast.path(), scene.place.path("pg_tblspc/16385"));
  refused("16386");
  fs::create_directory(scene.place.path("pg_tblspc/16386"));
  refused("16386");
  fs::remove(scene.place.path("pg_tblspc/16386"));
  fs::create_directory_symlink(fast.path(), scene.place.path("pg_tblspc/16386"));
  scene.bring_it(scene.place.path());
  EXPECT_TRUE(fs::exists(scene.sandbox.tablespace("16385") + "/PG_15_202209061/1/2"));
  // A link that was copied as it is leads to the files of the server.
  scene.place.write("tablespace_map", "16385 " + fast.path() + "\n16386 /srv/other\n");
  const auto tablespaces = tablespaces_of(open_backup(scene.place.path()));
  ASSERT_EQ(tablespaces.size(), 2U);
  EXPECT_TRUE(tablespaces[0].is_original);
  EXPECT_FALSE(tablespaces[1].is_original);
}

TEST(BroughtBackup, IsOneThatAServerCanBeStartedOn) {
  const auto refused = [](const TemporaryDirectory& place, const std::string& name = {}) {
    const auto error = error_of([&] { static_cast<void>(open_backup(place.path(name))); });
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    return std::string(error.what());
  };
  const TemporaryDirectory place;
  EXPECT_THAT(refused(place, "none"), HasSubstr("there is no such backup"));
  EXPECT_THAT(refused(place), HasSubstr("not a base backup that a server can be started on"));
  place.write("PG_VERSION", "15\n");
  place.write("backup_manifest", test::backup_manifest(kStart, kStart + 0x100));
  EXPECT_THAT(refused(place), HasSubstr("a server was started in it"));
  place.write("backup_label", backup_label(kStart));
  EXPECT_EQ(open_backup(place.path()).major, 15);
  place.write("backup_manifest.tmp", "x");
  EXPECT_THAT(refused(place), HasSubstr("the backup is in progress, or was aborted"));
  fs::remove(place.path("backup_manifest.tmp"));
  place.write("PG_VERSION", "fifteen\n");
  const auto error = error_of([&] { static_cast<void>(open_backup(place.path())); });
  EXPECT_EQ(error.kind(), ErrorKind::damage);
  EXPECT_THAT(error.what(), HasSubstr("invalid PG_VERSION"));
}

TEST(BroughtBackup, MayLieInADirectoryWithItsTablespacesBesideIt) {
  TemporaryDirectory place;
  place.write("one/data/backup_label", backup_label(kStart));
  place.write("one/data/PG_VERSION", "15\n");
  place.write("one/tablespaces/16385/PG_15/1", "x");
  fs::create_directory(place.path("one/data/pg_tblspc"));
  fs::create_directory_symlink("../../tablespaces/16385", place.path("one/data/pg_tblspc/16385"));
  TemporaryDirectory sandboxes;
  const Sandbox sandbox(sandboxes.path());
  const auto backup = open_backup(place.path("one"));
  EXPECT_EQ(backup.point.start, kStart);
  static_cast<void>(bring(backup, sandbox.layout(), [] { return false; }));
  EXPECT_TRUE(fs::exists(sandbox.tablespace("16385") + "/PG_15/1"));
  // An older one beside it is found, be it named by itself or by its data.
  place.write("two/backup_label", backup_label(wal::Lsn(0x2FFF028)));
  place.write("two/PG_VERSION", "15\n");
  place.write("three/backup_label", backup_label(wal::Lsn(0x3001028)));
  place.write("three/PG_VERSION", "15\n");
  place.write("rubbish/backup_label", "rubbish");
  EXPECT_EQ(older_backup(backup, kStart), place.path("two"));
  EXPECT_EQ(older_backup(open_backup(place.path("one/data")), kStart), place.path("two"));
  EXPECT_EQ(older_backup(backup, wal::Lsn(0x2FFF027)), std::nullopt);
}

/// Files that compress well are much larger than what any ratio lets expect.
TEST(BroughtBackup, NeedsTheSpaceThatItsManifestNames) {
  const TemporaryDirectory place;
  using Method = codec::Method;
  place.write("base.tar.gz", test::packed(Method::gzip, tar({{"backup_label", backup_label(kStart)},
                                                             {"tablespace_map", "16385 /fast\n"},
                                                             {"PG_VERSION", "15\n"}})));
  place.write("16385.tar.gz", test::packed(Method::gzip, tar({{"PG_15/1/2", "x"}})));
  const auto guess = open_backup(place.path()).bytes;
  EXPECT_LT(guess, 100'000U);
  place.write("backup_manifest", test::backup_manifest(kStart, kStart + 0x100, 1,
                                                       {{"PG_VERSION", 3},
                                                        {"base/5/1259", 5'000'000},
                                                        {"pg_tblspc/16385/PG_15/1/2", 7'000'000}}));
  const auto backup = open_backup(place.path());
  EXPECT_EQ(backup.bytes, 12'000'003U);
  const auto tablespaces = tablespaces_of(backup);
  ASSERT_EQ(tablespaces.size(), 1U);
  EXPECT_EQ(tablespaces[0].bytes, 7'000'000U);
}

TEST(BroughtBackup, TellsWhatItsOwnSettingsWouldDo) {
  for (const bool packed : {false, true}) {
    SCOPED_TRACE(packed);
    Scene scene;
    std::string path = scene.place.path();
    if (packed) {
      path = scene.put_tar(
          {{"PG_VERSION", "15\n"}, {"postgresql.auto.conf", "recovery_target_lsn = '0/1'\n"}});
    } else {
      scene.put_plain();
      scene.place.write("postgresql.auto.conf", "recovery_target_lsn = '0/1'\n");
    }
    EXPECT_THAT(settings_that_act(scene.bring_it(path).settings),
                ::testing::ElementsAre(HasSubstr("recovery_target_lsn = '0/1'")));
  }
}

TEST(BroughtBackup, IsBroughtUntilSomebodyStopsIt) {
  Scene scene;
  const auto path = scene.put_tar({{"PG_VERSION", "15\n"}});
  const auto error =
      error_of([&] { bring(open_backup(path), scene.sandbox.layout(), [] { return true; }); });
  EXPECT_EQ(error.kind(), ErrorKind::retry);
}

}  // namespace
}  // namespace weir::recovery::backup_test
