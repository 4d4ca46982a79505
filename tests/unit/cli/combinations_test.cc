#include "cli/combinations.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/commands.h"

namespace weir::cli::combinations_test {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

/// A value that the option accepts.
std::string value_of(const Option& option) {
  for (const auto* text : {"a",
                           "10s",
                           "64MB",
                           "2",
                           "1/0",
                           "5433",
                           "host=a",
                           "ANY 1 (a)",
                           "s3://bucket/p",
                           "a.prom",
                           "all",
                           "zstd",
                           "none",
                           "stop",
                           "plain",
                           "auto",
                           "primary",
                           "local",
                           "latest",
                           "debug",
                           "json",
                           "promote",
                           "jsonl",
                           "2026-11-20",
                           "2026-11-20 03:14:15+00",
                           "0000000000000000000000000000000000000000000000000000000000000000",
                           "/a=/b"}) {
    if (option.check == nullptr) return text;
    try {
      option.check(text);
      return text;
    } catch (const Error&) {  // not this one
      continue;
    }
  }
  ADD_FAILURE() << "no value for --" << option.name;
  return "";
}

/// A call with some settings, on the command line or in a file.
class Call {
 public:
  Call(const Command& command, std::string_view verb) : command_(command) {
    if (!verb.empty()) words_.emplace_back(verb);
    for (const auto& each : command.verbs)
      if (each.name == verb && each.words != CommandVerb::kAnyWords)
        words_.insert(words_.end(), each.words, "word");
  }
  Call& set(const Setting& setting) {
    const auto& option = *command_.find(setting.option);
    words_.push_back(fmt::format("--{}", option.name));
    if (option.takes_value()) words_.push_back(text(option, setting));
    return *this;
  }
  Call& set_in_file(const Setting& setting) {
    const auto& option = *command_.find(setting.option);
    file_ = fmt::format("[{}]\n{} = {}\n", command_.name, option.name,
                        option.takes_value() ? text(option, setting) : "on");
    return *this;
  }
  [[nodiscard]] std::vector<std::string> complaints() const {
    auto arguments = Arguments::parse(command_, words_);
    if (!file_.empty()) arguments.add_file("f", file_, commands());
    std::vector<Error> errors;
    check_combinations(arguments, &errors);
    std::vector<std::string> texts;
    for (const auto& error : errors) {
      EXPECT_EQ(error.kind(), ErrorKind::usage);
      texts.emplace_back(error.what());
    }
    return texts;
  }

 private:
  static std::string text(const Option& option, const Setting& setting) {
    return setting.value.empty() ? value_of(option) : std::string(setting.value);
  }
  const Command& command_;
  Words words_;
  std::string file_;
};

bool has_verb(const OfVerbs* verbs, std::string_view verb) {
  return verbs == nullptr ||
         fmt::format(" {} ", verbs->names).find(fmt::format(" {} ", verb)) != std::string::npos;
}

/// A verb that has the option: that of the relation, if it names one.
std::string_view verb_for(const Command& command, const OptionGroup& group, const Option& option,
                          const Relation& relation) {
  if (!relation.verb.empty()) return relation.verb;
  for (const auto& verb : command.verbs)
    if (has_verb(group.rules.verbs, verb.name) && has_verb(option.rules.verbs, verb.name))
      return verb.name;
  return {};
}

std::string shown(std::string text, std::string_view value) {
  return value.empty() ? text : fmt::format("{} {}", text, value);
}

struct Row {
  const Command& command;
  const OptionGroup& group;
  const Option& option;
};

void for_each_option(const std::function<void(const Row&)>& look) {
  for (const auto* command : commands())
    for (const auto& group : command->groups)
      for (const auto& option : group.options) {
        SCOPED_TRACE(fmt::format("pgweir {} --{}", command->name, option.name));
        look({*command, group, option});
      }
}

void expect_known(const Command& command, const Relation& relation) {
  std::size_t others = 0;
  for (const auto& other : relation.others) {
    if (other.option.empty()) continue;
    ++others;
    const auto* option = command.find(other.option);
    ASSERT_NE(option, nullptr) << other.option;
    if (!other.value.empty()) {
      EXPECT_NO_THROW(option->check(std::string(other.value)));
    }
  }
  EXPECT_GT(others, 0u);
}

TEST(Combinations, RefusesEachOptionWithoutWhatItRequires) {
  std::size_t driven = 0;
  for_each_option([&](const Row& row) {
    for (const auto* needs : {row.group.rules.needs, row.option.rules.needs}) {
      if (needs == nullptr) continue;
      ASSERT_NO_FATAL_FAILURE(expect_known(row.command, *needs));
      const auto verb = verb_for(row.command, row.group, row.option, *needs);
      const Setting own{row.option.name, needs->value};
      std::string wanted;
      std::vector<Setting> others;
      for (const auto& other : needs->others)
        if (!other.option.empty()) others.push_back(other);
      if (std::any_of(others.begin(), others.end(),
                      [&](const Setting& other) { return other.option == own.option; }))
        continue;  // it is what the others of its group require
      for (const auto& other : others)
        wanted +=
            (wanted.empty() ? "" : " or ") + shown(fmt::format("--{}", other.option), other.value);
      const auto on_line = fmt::format("option {} requires {}",
                                       shown(fmt::format("--{}", own.option), own.value), wanted);
      EXPECT_THAT(Call(row.command, verb).set(own).complaints(), Contains(on_line));
      for (const auto& other : others) {
        EXPECT_THAT(Call(row.command, verb).set(own).set(other).complaints(),
                    Not(Contains(on_line)));
        if (row.command.takes_file && row.command.find(other.option)->in_file) {
          EXPECT_THAT(Call(row.command, verb).set(own).set_in_file(other).complaints(),
                      Not(Contains(on_line)));
        }
      }
      ++driven;
      if (!row.option.in_file) continue;
      const auto in_file =
          fmt::format("{} requires {}", fmt::format("\"{}\" in f, line 2", own.option), wanted);
      const auto complaints = Call(row.command, verb).set_in_file(own).complaints();
      if (needs->command_line)
        EXPECT_THAT(complaints, Not(Contains(in_file)));
      else
        EXPECT_THAT(complaints, Contains(in_file));
    }
  });
  EXPECT_GT(driven, 70u);
}

TEST(Combinations, RefusesEachOptionWithWhatItExcludes) {
  std::size_t driven = 0;
  for_each_option([&](const Row& row) {
    for (const auto* excludes : {row.group.rules.excludes, row.option.rules.excludes}) {
      if (excludes == nullptr) continue;
      ASSERT_NO_FATAL_FAILURE(expect_known(row.command, *excludes));
      const auto verb = verb_for(row.command, row.group, row.option, *excludes);
      const Setting own{row.option.name, excludes->value};
      EXPECT_THAT(Call(row.command, verb).set(own).complaints(),
                  Not(Contains(::testing::HasSubstr("cannot be used together"))));
      for (const auto& other : excludes->others) {
        if (other.option.empty()) continue;
        const auto others = shown(fmt::format("--{}", other.option), other.value);
        EXPECT_THAT(
            Call(row.command, verb).set(own).set(other).complaints(),
            Contains(fmt::format("options {} and {} cannot be used together",
                                 shown(fmt::format("--{}", own.option), own.value), others)));
        ++driven;
        if (!row.option.in_file) continue;
        const auto in_file = fmt::format("{} and {} cannot be used together",
                                         fmt::format("\"{}\" in f, line 2", own.option), others);
        const auto complaints = Call(row.command, verb).set_in_file(own).set(other).complaints();
        if (excludes->command_line)
          EXPECT_THAT(complaints, Not(Contains(in_file)));
        else
          EXPECT_THAT(complaints, Contains(in_file));
      }
    }
  });
  EXPECT_GT(driven, 30u);
}

TEST(Combinations, KnowsWhichVerbHasWhichOption) {
  std::size_t driven = 0;
  for_each_option([&](const Row& row) {
    for (const auto* verbs : {row.group.rules.verbs, row.option.rules.verbs}) {
      if (verbs == nullptr) continue;
      std::size_t known = 0;
      for (const auto& verb : row.command.verbs) {
        const auto refusal = fmt::format("option --{} cannot be used with \"{} {}\"",
                                         row.option.name, row.command.name, verb.name);
        const Setting own{row.option.name};
        const auto complaints = Call(row.command, verb.name).set(own).complaints();
        if (has_verb(verbs, verb.name)) {
          ++known;
          EXPECT_THAT(complaints, Not(Contains(refusal)));
        } else {
          EXPECT_THAT(complaints, Contains(refusal));
          ++driven;
        }
        if (row.option.in_file) {
          EXPECT_THAT(Call(row.command, verb.name).set_in_file(own).complaints(),
                      Not(Contains(refusal)));
        }
      }
      EXPECT_EQ(known, static_cast<std::size_t>(
                           std::count(verbs->names.begin(), verbs->names.end(), ' ') + 1));
      // "push: how long …" in --help.
      if (const auto colon = row.option.help.find(": "); colon != std::string_view::npos)
        for (const auto& verb : row.command.verbs)
          if (row.option.help.substr(0, colon) == verb.name) {
            EXPECT_EQ(verbs->names, verb.name);
          }
    }
  });
  EXPECT_GT(driven, 60u);
}

std::string complaint(const Command& command, const Words& words, const std::string& file = "",
                      const std::vector<std::string>& variables = {}) {
  try {
    auto arguments = Arguments::parse(command, words);
    arguments.add_environment(variables, commands());
    if (!file.empty()) arguments.add_file("f", file, commands());
    check_combinations(arguments);
  } catch (const Error& error) {
    return error.hint().empty() ? error.what() : fmt::format("{} | {}", error.what(), error.hint());
  }
  return "";
}

TEST(Combinations, NamesTheSourceOfEachOption) {
  EXPECT_EQ(complaint(kReceiveCommand, {}, "", {"PGWEIR_RECEIVE_CREATE_SLOT=on"}),
            "PGWEIR_RECEIVE_CREATE_SLOT requires --slot");
  EXPECT_EQ(complaint(kReceiveCommand, {"--create-slot"}, "slot = a"), "");
  EXPECT_EQ(complaint(kReceiveCommand, {"--create-slot"}, "", {"PGWEIR_RECEIVE_SLOT=a"}), "");
  EXPECT_EQ(complaint(kLogicalCommand, {"--verbose"}, "[logical]\nquiet = on"),
            "--verbose and \"quiet\" in f, line 2 cannot be used together");
}

TEST(Combinations, ComparesTheMeaningOfAValueNotItsWord) {
  EXPECT_EQ(complaint(kReceiveCommand, {"--slot-interval", "5s", "--slot-hosts", "listed", "-Sa"}),
            "");
  EXPECT_EQ(complaint(kReceiveCommand, {"--slot-on", "listed"}),
            "option --slot-hosts all requires --slot");
  EXPECT_EQ(complaint(kReceiveCommand, {"--slot-hosts", "none"}), "");
}

TEST(Combinations, CollectsAll) {
  std::vector<Error> errors;
  check_combinations(Arguments::parse(kReceiveCommand, {"--create-slot", "--compare-rate", "1MB"}),
                     &errors);
  ASSERT_EQ(errors.size(), 2u);
  EXPECT_STREQ(errors[0].what(), "option --create-slot requires --slot");
  EXPECT_STREQ(errors[1].what(), "option --compare-rate requires --compare-with");
}

TEST(Combinations, RequiresAVerb) {
  EXPECT_EQ(complaint(kSlotCommand, {}),
            "no command specified for \"pgweir slot\" | It can be create, drop or list; see "
            "\"pgweir slot --help\".");
  EXPECT_THAT(complaint(kSlotCommand, {"lst"}), StartsWith("unknown command \"slot lst\" | "));
  EXPECT_EQ(complaint(kLogicalCommand, {}), "");  // stream
  EXPECT_THAT(complaint(kLogicalCommand, {"--limit", "5"}),
              StartsWith("option --limit cannot be used with \"logical stream\""));
  EXPECT_EQ(complaint(kStoreCommand, {"publish-open"}), "");  // its former name
  EXPECT_THAT(complaint(kStoreCommand, {"get", "name"}),
              StartsWith("store get takes a name and a target"));
  EXPECT_THAT(complaint(kStoreCommand, {"ls", "name"}), StartsWith("store ls takes no name"));
}

}  // namespace
}  // namespace weir::cli::combinations_test
