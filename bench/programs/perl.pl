# SPDX-License-Identifier: MIT
# Word counting and text building, as perl is used: hashes of arrays and many strings.
use strict;
use warnings;

my $rounds = shift;
my $seed = 1;
my $total = 0;

sub draw {
	my $bound = shift;
	$seed = ($seed * 1103515245 + 12345) % 2147483648;
	return int($seed / 65536) % $bound;
}

for my $round (1 .. $rounds) {
	my %lines;
	for my $i (1 .. 25000) {
		my $word = 'w' x (1 + draw(24)) . draw(4000);
		push @{ $lines{$word} }, "line $i of $word";
	}
	my $text = join "\n", map { join ';', @{ $lines{$_} } } sort keys %lines;
	my @fields = split /[;\n]/, $text;
	die "lines were lost\n" if @fields != 25000;
	s/line (\d+)/$1 line/ for @fields;
	$total += length join '', reverse @fields;
}
print "$total\n";
