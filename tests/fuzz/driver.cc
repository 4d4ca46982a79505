// Runs a fuzz target without libFuzzer: its corpus, then inputs mutated from it, as many as asked.
//
//   fuzz_<target> [--runs N] [--seed S] [--only RUN]     mutated inputs; PGWEIR_SEED is a seed, too
//   fuzz_<target> --write-corpus DIR                     for libFuzzer
//   fuzz_<target> FILE...                                these inputs, once
//
// Run N of seed S always has the same input, so a failure is repeated by --seed S --only N.
//
// Fuzz targets (`tests/fuzz`) have their own driver, so that they run with every compiler and in
// every test run; `PGWEIR_FUZZ` builds libFuzzer programs from the same files.

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "fuzz.h"

extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace {

using weir::test::Bytes;
using Random = std::mt19937_64;

std::uint64_t seed = 1;
std::uint64_t run_number = 0;

void tell_where() {
  std::fprintf(stderr, "fuzz: repeat it with --seed %llu --only %llu\n",
               static_cast<unsigned long long>(seed), static_cast<unsigned long long>(run_number));
}

void on_abort(int) {
  tell_where();
  std::_Exit(1);
}

void run(const Bytes& input) {
  try {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fuzz: an exception escaped: %s\n", error.what());
    tell_where();
    std::exit(1);
  }
}

std::size_t below(Random& random, std::size_t limit) {
  return limit == 0 ? 0 : static_cast<std::size_t>(random() % limit);
}

/// An integer of 1, 2, 4 or 8 bytes that code may stumble over.
void overwrite(Bytes& input, Random& random) {
  constexpr std::uint64_t kInteresting[] = {0,
                                            1,
                                            0x7f,
                                            0x80,
                                            0xff,
                                            0x7fff,
                                            0xffff,
                                            8192,
                                            0x7fffffff,
                                            0x80000000,
                                            0xffffffff,
                                            0x7fffffffffffffff,
                                            0x8000000000000000,
                                            0xffffffffffffffff};
  const auto value = kInteresting[below(random, std::size(kInteresting))] + below(random, 3) - 1;
  const auto size = std::min(std::size_t{1} << below(random, 4), input.size());
  if (size == 0) return;
  std::memcpy(input.data() + below(random, input.size() - size + 1), &value, size);
}

void mutate(Bytes& input, const std::vector<Bytes>& corpus, Random& random) {
  constexpr std::size_t kLongest = 1 << 20;
  const auto at = below(random, input.size() + 1);
  const auto here = input.begin() + static_cast<std::ptrdiff_t>(at);
  const auto length = std::min(input.size() - at, std::size_t{1} << below(random, 13));
  const auto behind = here + static_cast<std::ptrdiff_t>(length);
  switch (below(random, 8)) {
    case 0:
    case 1:
      if (at < input.size()) *here ^= static_cast<std::byte>(1u << below(random, 8));
      break;
    case 2:
      if (at < input.size()) *here = static_cast<std::byte>(random());
      break;
    case 3:
      overwrite(input, random);
      break;
    case 4:
      input.erase(here, behind);
      break;
    case 5:
      input.resize(at);
      break;
    case 6: {
      const Bytes copy(here, behind);
      const auto to = input.begin() + static_cast<std::ptrdiff_t>(below(random, input.size() + 1));
      if (input.size() + copy.size() < kLongest) input.insert(to, copy.begin(), copy.end());
      break;
    }
    default: {
      const auto& other = corpus[below(random, corpus.size())];
      const auto from = below(random, other.size() + 1);
      input.erase(here, input.end());
      input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
    }
  }
}

Bytes input_of(std::uint64_t number, const std::vector<Bytes>& corpus) {
  if (number < corpus.size()) return corpus[number];
  Random random(seed * 0x9e3779b97f4a7c15 + number);
  auto input = corpus[below(random, corpus.size())];
  for (auto count = 1 + below(random, 4); count > 0; --count) mutate(input, corpus, random);
  return input;
}

int run_files(int count, char** words) {
  for (int i = 1; i < count; ++i) {
    std::ifstream file(words[i], std::ios::binary);
    if (!file) {
      std::fprintf(stderr, "fuzz: cannot read %s\n", words[i]);
      return 2;
    }
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    run(weir::test::bytes_of(content));
  }
  return 0;
}

}  // namespace

int main(int count, char** words) {
  std::signal(SIGABRT, on_abort);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(tell_where);
  if (const char* text = std::getenv("PGWEIR_SEED")) seed = std::strtoull(text, nullptr, 10);
  std::uint64_t runs = 10'000;
  std::uint64_t first = 0;
  const auto corpus = weir::fuzz::corpus();
  if (count > 1 && words[1][0] != '-') return run_files(count, words);
  for (int i = 1; i < count; i += 2) {
    const std::string word = words[i];
    if (i + 1 == count) {
      std::fprintf(stderr, "fuzz: %s needs a value\n", words[i]);
      return 2;
    }
    if (word == "--write-corpus") {
      for (std::size_t number = 0; number < corpus.size(); ++number)
        std::ofstream(words[i + 1] + ("/" + std::to_string(number)), std::ios::binary)
            << weir::test::text_of(corpus[number]);
      return 0;
    }
    const auto value = std::strtoull(words[i + 1], nullptr, 10);
    if (word == "--runs") {
      runs = value;
    } else if (word == "--seed") {
      seed = value;
    } else if (word == "--only") {
      first = value;
      runs = value + 1;
    } else {
      std::fprintf(stderr, "fuzz: unknown option %s\n", words[i]);
      return 2;
    }
  }
  std::printf("PGWEIR_SEED=%llu, %zu inputs, %llu runs\n", static_cast<unsigned long long>(seed),
              corpus.size(), static_cast<unsigned long long>(runs));
  std::fflush(stdout);
  for (run_number = first; run_number < runs; ++run_number) run(input_of(run_number, corpus));
  return 0;
}
