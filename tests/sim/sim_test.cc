#include <gtest/gtest.h>

#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "sim_run.h"

namespace weir::sim {
namespace {

/// PGWEIR_SEED=n one seed with its story; PGWEIR_SEEDS=a-b a range; else 1 to `fallback`.
struct Seeds {
  std::uint64_t first = 1;
  std::uint64_t last;
  bool one = false;

  explicit Seeds(std::uint64_t fallback) : last(fallback) {
    if (const char* seed = std::getenv("PGWEIR_SEED")) {
      first = last = std::strtoull(seed, nullptr, 10);
      one = true;
    } else if (const char* range = std::getenv("PGWEIR_SEEDS")) {
      char* dash = nullptr;
      first = std::strtoull(range, &dash, 10);
      last = *dash == '-' ? std::strtoull(dash + 1, nullptr, 10) : first;
    }
  }
};

void print_story(std::uint64_t seed) {
  std::printf("---- seed %llu\n", static_cast<unsigned long long>(seed));
  static_cast<void>(simulate(seed, Mutant::none, Telling::printed));
  std::fflush(stdout);
}

TEST(Simulation, KeepsThePromises) {
  const Seeds seeds(2500);
  std::printf("seeds %llu to %llu; PGWEIR_SEED=n shows one, PGWEIR_SEEDS=a-b chooses\n",
              static_cast<unsigned long long>(seeds.first),
              static_cast<unsigned long long>(seeds.last));
  if (seeds.one) print_story(seeds.first);
  RunResult sum;
  const auto begin = std::chrono::steady_clock::now();
  int failures = 0;
  for (auto seed = seeds.first; seed <= seeds.last; ++seed) {
    const auto result = simulate(seed, Mutant::none, Telling::none);
    if (result.violation) {
      if (failures == 0 && !seeds.one) print_story(seed);
      ADD_FAILURE() << "seed " << seed << ": " << result.violation->promise << ": "
                    << result.violation->what;
      if (++failures == 10) break;
    }
    sum.processes += result.processes;
    sum.power_losses += result.power_losses;
    sum.kills += result.kills;
    sum.failed_syncs += result.failed_syncs;
    sum.full_disks += result.full_disks;
    sum.refusals += result.refusals;
    sum.timelines += result.timelines;
  }
  const auto seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const auto print = [](const char* what, std::uint64_t count) {
    std::printf("  %-24s %llu\n", what, static_cast<unsigned long long>(count));
  };
  print("processes", sum.processes);
  print("power losses", sum.power_losses);
  print("killed or ended", sum.kills);
  print("failed syncs", sum.failed_syncs);
  print("full disks", sum.full_disks);
  print("errors for a person", sum.refusals);
  print("timelines", sum.timelines);
  std::printf("  %-24s %.0f\n", "seeds per second",
              static_cast<double>(seeds.last - seeds.first + 1) / seconds);
  if (seeds.last - seeds.first < 999) return;
  // The simulation is worth something only if it gets into trouble.
  EXPECT_GT(sum.power_losses, seeds.last - seeds.first);
  EXPECT_GT(sum.kills, 0U);
  EXPECT_GT(sum.failed_syncs, 0U);
  EXPECT_GT(sum.full_disks, 0U);
  EXPECT_GT(sum.refusals, 0U);
}

TEST(Simulation, IsDecidedByItsSeedAlone) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const auto one = simulate(seed, Mutant::none, Telling::kept);
    const auto two = simulate(seed, Mutant::none, Telling::kept);
    EXPECT_EQ(one.story, two.story);
    EXPECT_GT(one.story.size(), 20U);
  }
}

class SimulationMutants : public ::testing::TestWithParam<Mutant> {};

TEST_P(SimulationMutants, AreCaught) {
  const std::uint64_t most = 2000;
  for (std::uint64_t seed = 1; seed <= most; ++seed) {
    const auto result = simulate(seed, GetParam(), Telling::none);
    // By a promise: that it only gets stuck would not be the right reason.
    if (!result.violation || result.violation->promise == "progress") continue;
    std::printf("caught by seed %llu: %s: %s\n", static_cast<unsigned long long>(seed),
                result.violation->promise.c_str(), result.violation->what.c_str());
    return;
  }
  ADD_FAILURE() << "not caught within " << most << " seeds: " << to_string(GetParam());
}

std::vector<Mutant> all_mutants() {
  std::vector<Mutant> mutants;
  for (int i = 1; i < static_cast<int>(Mutant::mutants_end); ++i)
    mutants.push_back(static_cast<Mutant>(i));
  return mutants;
}

INSTANTIATE_TEST_SUITE_P(Each, SimulationMutants, ::testing::ValuesIn(all_mutants()),
                         [](const auto& mutant) {
                           std::string name = to_string(mutant.param);
                           for (auto& letter : name)
                             if (!std::isalnum(static_cast<unsigned char>(letter))) letter = '_';
                           return name;
                         });

}  // namespace
}  // namespace weir::sim
