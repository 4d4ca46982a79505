#include "recover/places.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "io/tree.h"
#include "support/backup_builder.h"
#include "support/error_of.h"

namespace weir::recover::places_test {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::TemporaryDirectory;
using ::testing::HasSubstr;

const wal::Lsn kStart(0x3000028);

/// The data directory of a backup, with a tablespace where the link leads.
void put_backup(const TemporaryDirectory& place, const std::string& data, const std::string& link,
                const std::string& tablespace) {
  place.write(data + "/backup_label", test::backup_label(kStart));
  place.write(data + "/PG_VERSION", "17\n");
  place.write(tablespace + "/PG_17/1", "x");
  fs::create_directory(place.path(data + "/pg_tblspc"));
  fs::create_directory_symlink(link, place.path(data + "/pg_tblspc/16385"));
}

/// Throws what require_places() does.
void require(const Choice& choice, const std::string& into, const std::string& tablespace) {
  Options options;
  options.into = into;
  std::vector<Place> places;
  for (const auto& of : recovery::tablespaces_of(choice.backup)) places.push_back({of, tablespace});
  require_places(choice, places, options, {});
}

TEST(Places, AreNotInsideOfTheBackup) {
  const TemporaryDirectory place;
  put_backup(place, "one/data", "../../tablespaces/16385", "one/tablespaces/16385");
  put_backup(place, "two/data", place.path("apart/fast"), "apart/fast");
  const Choice made{.backup = recovery::open_backup(place.path("one"))};
  const Choice manual{.backup = recovery::open_backup(place.path("two/data"))};
  require(made, place.path("new"), place.path("fast"));
  require(manual, place.path("two/new"), place.path("apart/other"));
  const auto refused = [&](const Choice& choice, const char* into, const char* tablespace) {
    const auto error = error_of([&] { require(choice, place.path(into), place.path(tablespace)); });
    EXPECT_EQ(error.kind(), ErrorKind::conflict);
    EXPECT_THAT(error.what(), HasSubstr("a directory is inside another one"));
  };
  refused(made, "one/data/new", "fast");
  refused(made, "one/tablespaces/16385/new", "fast");
  refused(made, "one/new", "fast");  // it is removed with the backup
  refused(made, "new", "one/tablespaces/16386");
  refused(manual, "apart/fast/new", "fast");
  refused(manual, "new", "apart/fast/PG_17/new");
  // The backups that an incremental one builds upon.
  const Choice chain{.backup = recovery::open_backup(place.path("two/data")),
                     .upon = {recovery::open_backup(place.path("one"))}};
  refused(chain, "one/tablespaces/16385/new", "fast");
}

TEST(Places, HintIsAnOptionThatCanBeCopied) {
  const TemporaryDirectory place;
  const auto old = place.path("db's=fast");
  put_backup(place, "base", old, "db's=fast");
  const Choice choice{.backup = recovery::open_backup(place.path("base"))};
  const auto error = error_of([&] { require(choice, place.path("new"), old); });
  const auto quoted = place.path("db'\\''s\\=fast");
  EXPECT_THAT(error.hint(), HasSubstr("--tablespace-mapping='" + quoted + "=/NEW/PLACE'"));
  EXPECT_EQ(parse_mapping(escaped(old) + "=/NEW/PLACE"), std::pair(old, std::string("/NEW/PLACE")));
}

/// A tablespace of an incremental backup is small: what it is combined with is not.
TEST(Places, HaveTheSpaceForATablespaceThatIsCombined) {
  constexpr std::uint64_t kLarge = std::uint64_t{1} << 40;
  const TemporaryDirectory place;
  const std::string other = "/dev/shm";
  if (!fs::is_directory(other) || !io::may_write_into(other) ||
      io::file_system_of(other) == io::file_system_of(place.path()) ||
      io::free_bytes(other) >= kLarge)
    GTEST_SKIP() << "this needs a second, smaller file system";
  put_backup(place, "full", place.path("of_full"), "of_full");
  put_backup(place, "last", place.path("of_last"), "of_last");
  std::error_code failed;
  fs::resize_file(place.path("of_full/PG_17/1"), kLarge, failed);
  if (failed) GTEST_SKIP() << "no file can be that large here";
  const Choice choice{.backup = recovery::open_backup(place.path("last"), true),
                      .upon = {recovery::open_backup(place.path("full"), true)}};
  const auto error = error_of([&] {
    require(choice, place.path("new"), fmt::format("{}/pgweir-test-{}", other, ::getpid()));
  });
  EXPECT_EQ(error.kind(), ErrorKind::disk_full);
  EXPECT_THAT(error.what(), HasSubstr("place " + other));
}

}  // namespace
}  // namespace weir::recover::places_test
