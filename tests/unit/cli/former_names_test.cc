#include "cli/former_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/option.h"

namespace weir::cli::former_names_test {

using testing::ElementsAre;
using testing::IsEmpty;

bool is_known(std::string_view option) {
  const auto all = commands();
  return std::any_of(all.begin(), all.end(),
                     [&](const Command* each) { return each->find(option) != nullptr; });
}

TEST(FormerNames, StandForAnOptionThatIsThereAndForNoOther) {
  for (const auto& [former, present] : kFormerNames) {
    EXPECT_TRUE(is_known(present)) << present;
    EXPECT_FALSE(is_known(former)) << former;
  }
}

TEST(FormerNames, AreTakenFromTheCommandLine) {
  const auto arguments =
      Arguments::parse(kReceiveCommand, {"--slot-on", "listed", "--gap-patience=10min"});
  EXPECT_EQ(arguments.text("slot-hosts"), "listed");
  EXPECT_EQ(arguments.text("gap-timeout"), "10min");
  EXPECT_THAT(arguments.former_names(),
              ElementsAre("--slot-on is called --slot-hosts now; the former name is accepted until "
                          "version 2.0",
                          "--gap-patience is called --gap-timeout now; the former name is accepted "
                          "until version 2.0"));
  EXPECT_TRUE(
      Arguments::parse(kRestoreCommand, {"--up-to-hole", "--first-sound"}).has("until-gap"));
}

TEST(FormerNames, DoNotGiveAnOptionTwice) {
  EXPECT_THROW(Arguments::parse(kReceiveCommand, {"--slot-on=listed", "--slot-hosts=all"}), Error);
}

TEST(FormerNames, AreTakenFromTheFile) {
  auto arguments = Arguments::parse(kReceiveCommand, {});
  arguments.add_file("weir.conf", "slot-on = listed\n[store]\nkeep-local = 7d\n", commands());
  EXPECT_EQ(arguments.text("slot-hosts"), "listed");
  EXPECT_EQ(arguments.text("local-retention"), "7d");
  ASSERT_EQ(arguments.former_names().size(), 2u);
  EXPECT_EQ(
      arguments.former_names()[0],
      "\"slot-on\" in weir.conf, line 1 is called slot-hosts now; the former name is accepted "
      "until version 2.0");
}

TEST(FormerNames, AreTakenFromTheEnvironment) {
  auto arguments = Arguments::parse(kReceiveCommand, {});
  const std::vector<std::string> variables{"PGWEIR_RECEIVE_SLOT_ON=listed"};
  arguments.add_environment(variables, commands());
  arguments.refuse_strays(variables, commands());
  EXPECT_EQ(arguments.text("slot-hosts"), "listed");
  EXPECT_THAT(arguments.former_names(),
              ElementsAre("PGWEIR_RECEIVE_SLOT_ON is called PGWEIR_RECEIVE_SLOT_HOSTS now; the "
                          "former name is accepted until version 2.0"));
}

TEST(FormerNames, DoNotGiveAVariableTwice) {
  const auto read = [](const std::vector<std::string>& variables) {
    auto arguments = Arguments::parse(kReceiveCommand, {});
    arguments.add_environment(variables, commands());
    return arguments.text("slot-hosts");
  };
  EXPECT_THROW(read({"PGWEIR_RECEIVE_SLOT_ON=none", "PGWEIR_RECEIVE_SLOT_HOSTS=all"}), Error);
  EXPECT_THROW(read({"PGWEIR_RECEIVE_SLOT_HOSTS=all", "PGWEIR_RECEIVE_SLOT_ON=none"}), Error);
  EXPECT_EQ(read({"PGWEIR_RECEIVE_SLOT_ON=all", "PGWEIR_RECEIVE_SLOT_HOSTS=all"}), "all");
}

TEST(FormerNames, AreNotMissedWhereThePresentOnesAreGiven) {
  EXPECT_THAT(Arguments::parse(kReceiveCommand, {"--slot-hosts", "all"}).former_names(), IsEmpty());
}

}  // namespace weir::cli::former_names_test
